-- Drops the checkpoints of steps.
delete from checkpoint
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
