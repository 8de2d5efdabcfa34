-- Drops the checkpoints of steps.
delete from checkpoint
using unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
where checkpoint.run = k.run and checkpoint.node = k.node and checkpoint.item = k.item
