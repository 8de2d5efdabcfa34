-- Removes the steps of nodes whose list is read anew; checkpoints and artifacts go with
-- them, attempts and events stay.
delete from step
where (run, node) in (
    select s.value ->> 'run', s.value ->> 'node' from json_each($1) as s
)
