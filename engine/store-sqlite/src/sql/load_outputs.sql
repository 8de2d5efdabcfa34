-- Outputs of nodes, step by step in the order of their lists. A node without steps gives one row
-- without an item.
select node.run, node.name, node.total, step.item, step.output
from json_each($1) as k
cross join node on node.run = k.value ->> 'run' and node.name = k.value ->> 'node'
left join step on step.run = node.run and step.node = node.name
order by node.run, node.name, step.item
