-- Drops records of objects of steps that are not what was recorded.
delete from artifact
where (run, node, item, key) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item', dropped.value
    from json_each($1) as s, json_each(s.value, '$.keys') as dropped
)
