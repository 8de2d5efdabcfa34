-- Writes the progress of steps. One that stands still is not written again.
insert into step_progress (run, node, item, value)
select p.value ->> 'run', p.value ->> 'node', p.value ->> 'item', p.value -> 'progress'
from json_each($1) as p
where true
on conflict (run, node, item) do update set value = excluded.value
where value <> excluded.value
