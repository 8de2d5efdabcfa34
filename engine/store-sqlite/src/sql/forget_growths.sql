-- Drops what checkpoints of steps grew by.
delete from checkpoint_growth
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
