-- The same where a checkpoint named them.
update checkpoint_objects
set
    objects = (
        select json_group_array(json(object.value))
        from json_each(checkpoint_objects.objects) as object
        where object.value ->> 'key' not in (select value from json_each($4))
    )
where run = $1 and node = $2 and item = $3
