-- The first ready steps of a run, in the order of the definition and of its lists.
select run, node, item, position, kind, rank
from ready
where run = $1
order by position, item
limit $2
