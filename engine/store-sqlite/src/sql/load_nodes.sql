-- The nodes of runs in the order of their definitions.
select node.run, name, status, total, settled, failed, held, reason
from json_each($1) as r
cross join node on node.run = r.value
order by node.run, position
