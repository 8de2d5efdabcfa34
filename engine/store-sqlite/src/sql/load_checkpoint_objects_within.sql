-- Objects that checkpoints of a run's steps named, within stretches of its nodes and in the order in which
-- they were recorded.
select checkpoint_objects.node, checkpoint_objects.item, checkpoint_objects.objects
from json_each($2) as part
cross join checkpoint_objects
    on
        checkpoint_objects.run = $1
        and checkpoint_objects.node = part.value ->> 'node'
        and checkpoint_objects.item between part.value ->> 'first' and part.value ->> 'last'
order by checkpoint_objects.node, checkpoint_objects.item, checkpoint_objects.seq
