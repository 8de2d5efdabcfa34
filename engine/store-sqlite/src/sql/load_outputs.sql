-- Outputs of nodes, step by step in the order of their lists. A node without steps gives one row
-- without an item.
select node.name, node.total, step.item, step.output
from node
left join step on step.run = node.run and step.node = node.name
where node.run = $1 and node.name in (select value from json_each($2))
order by node.name, step.item
