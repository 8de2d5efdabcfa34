-- Drops the artifacts of steps: what they recorded no longer counts.
delete from artifact
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
