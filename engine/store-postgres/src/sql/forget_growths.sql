-- Drops what checkpoints of steps grew by.
delete from checkpoint_growth
using unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
where
    checkpoint_growth.run = k.run
    and checkpoint_growth.node = k.node
    and checkpoint_growth.item = k.item
