-- Outputs of nodes, step by step in the order of their lists.
select step.run, step.node, step.item, step.output
from unnest($1::text[], $2::text[]) as k (run, node)
inner join step on step.run = k.run and step.node = k.node
order by step.run, step.node, step.item
