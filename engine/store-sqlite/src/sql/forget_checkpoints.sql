-- Drops the checkpoints of steps.
delete from checkpoint
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
