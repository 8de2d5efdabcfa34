-- Drops the artifacts of steps: what they recorded no longer counts.
delete from artifact
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
