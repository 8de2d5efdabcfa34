-- Drops what checkpoints of steps named.
delete from checkpoint_objects
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
