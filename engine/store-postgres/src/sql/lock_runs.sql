-- Locks runs in the order of their ids, and says how far each is.
select id, revision from run where id = any($1) order by id for update
