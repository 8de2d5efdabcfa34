-- Outputs of nodes, step by step in the order of their lists.
select step.run, step.node, step.item, step.output
from json_each($1) as k
cross join step on step.run = k.value ->> 'run' and step.node = k.value ->> 'node'
order by step.run, step.node, step.item
