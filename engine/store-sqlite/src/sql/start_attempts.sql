-- Writes attempts that begin.
insert into attempt (run, node, item, n, round, worker, started_at, resumed_from)
select
    $1, a.value ->> 'node', a.value ->> 'item', a.value ->> 'n', a.value ->> 'round',
    a.value ->> 'session', $3, a.value ->> 'resumed_from'
from json_each($2) as a
