-- Writes inputs of steps. One that did not change is not written again: most
-- transitions of a step leave its input alone.
insert into step_input (run, node, item, value)
select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item', s.value -> 'input'
from jsonb_each($1) as s
where true
on conflict (run, node, item) do update set value = excluded.value
where value <> excluded.value
