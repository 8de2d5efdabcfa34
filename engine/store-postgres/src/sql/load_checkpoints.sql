-- The latest checkpoints of steps.
select c.run, c.node, c.item, c.seq, c.value, c.covers_from, c.covers_to, c.compat
from unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
inner join checkpoint as c on c.run = k.run and c.node = k.node and c.item = k.item
