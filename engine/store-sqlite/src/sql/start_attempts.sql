-- Writes attempts that begin.
insert into attempt (run, node, item, n, round, worker, started_at, resumed_from)
select
    a.value ->> 'run', a.value ->> 'node', a.value ->> 'item', a.value ->> 'n',
    a.value ->> 'round', a.value ->> 'session', $2, a.value ->> 'resumed_from'
from jsonb_each($1) as a
