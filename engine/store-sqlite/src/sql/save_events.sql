-- Appends events, each with the next number of its run. The write lock keeps the numbers free of
-- gaps and doubles.
insert into event (run, seq, at, kind, step, data)
select
    e.value ->> 'run',
    coalesce((select max(seq) from event where run = e.value ->> 'run'), 0)
    + row_number() over (partition by e.value ->> 'run' order by e.key),
    $2,
    e.value ->> 'kind',
    e.value ->> 'step',
    coalesce(e.value -> 'data', 'null')
from jsonb_each($1) as e
