-- Appends events.
insert into event (run, seq, at, kind, step, data, earlier)
select
    e.value ->> 'run', e.value ->> 'seq', $2, e.value ->> 'kind', e.value ->> 'step',
    coalesce(e.value -> 'data', 'null'), e.value -> 'earlier'
from jsonb_each($1) as e
