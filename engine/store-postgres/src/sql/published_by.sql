-- Notes which step of its run made a generation the current one.
update generation set node = $4, item = $5
where name = $1 and n = $2 and run = $3
