-- The first claim of a run starts it.
update run
set status = 'running', started_at = $2
where status = 'queued' and id in (select c.value ->> 'run' from json_each($1) as c)
returning id
