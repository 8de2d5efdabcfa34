-- Objects that checkpoints of a run's steps named, in the order in which they were recorded.
select node, item, objects
from checkpoint_objects
where run = $1
order by node, item, seq
