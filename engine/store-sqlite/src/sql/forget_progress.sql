-- Drops the progress of steps that begin anew.
delete from step_progress
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
