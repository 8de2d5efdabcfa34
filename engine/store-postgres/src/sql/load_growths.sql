-- What the latest checkpoints of steps grew by since they were saved whole, in order.
select g.run, g.node, g.item, g.value
from unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
inner join checkpoint_growth as g on g.run = k.run and g.node = k.node and g.item = k.item
order by g.run, g.node, g.item, g.seq
