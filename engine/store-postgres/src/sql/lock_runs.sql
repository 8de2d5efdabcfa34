-- Locks runs in the order of their ids, and loads them.
select * from run where id = any($1) order by id for update
