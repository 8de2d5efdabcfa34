-- Drops what checkpoints of steps grew by.
delete from checkpoint_growth
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
