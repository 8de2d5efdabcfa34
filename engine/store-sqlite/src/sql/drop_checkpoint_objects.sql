-- The same where checkpoints named them.
update checkpoint_objects
set
    objects = (
        select json_group_array(json(object.value))
        from json_each(checkpoint_objects.objects) as object
        where
            object.value ->> 'key' not in (select value from json_each(s.value, '$.keys'))
    )
from json_each($1) as s
where
    checkpoint_objects.run = s.value ->> 'run'
    and checkpoint_objects.node = s.value ->> 'node'
    and checkpoint_objects.item = s.value ->> 'item'
