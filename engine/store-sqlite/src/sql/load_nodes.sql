-- The nodes of a run in the order of the definition.
select name, status, total, settled, failed, held, reason
from node
where run = $1
order by position
