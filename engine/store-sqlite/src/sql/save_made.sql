-- Records what the reuse keys of steps are made of.
insert into made (run, node, item, value)
select m.value ->> 'run', m.value ->> 'node', m.value ->> 'item', m.value -> 'value'
from json_each($1) as m
where true
on conflict (run, node, item) do update set value = excluded.value
