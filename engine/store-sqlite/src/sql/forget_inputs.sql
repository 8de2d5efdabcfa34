-- Drops the inputs of steps that begin anew.
delete from step_input
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
