-- Gives a request key to another run.
update request_key set run = $2 where key = $1
