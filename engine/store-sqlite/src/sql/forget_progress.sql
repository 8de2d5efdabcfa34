-- Drops the progress of steps that begin anew.
delete from step_progress
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
