-- Drops the inputs of steps that begin anew.
delete from step_input
where run = $1 and (node, item) in (
    select s.value ->> 'node', s.value ->> 'item' from json_each($2) as s
)
