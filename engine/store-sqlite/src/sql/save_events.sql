-- Appends events.
insert into event (run, seq, at, kind, step, data)
select
    e.value ->> 'run', e.value ->> 'seq', $2, e.value ->> 'kind', e.value ->> 'step',
    coalesce(e.value -> 'data', 'null')
from jsonb_each($1) as e
