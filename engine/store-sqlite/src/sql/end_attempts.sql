-- Writes attempts that ended. One that a release before this one began has a row that knows how.
insert into attempt (
    run, node, item, n, round, worker, started_at, resumed_from, outcome, ended_at, cpu_s,
    max_rss_bytes, processors, error
)
select
    a.value ->> 'run',
    a.value ->> 'node',
    a.value ->> 'item',
    a.value ->> 'n',
    a.value ->> 'round',
    a.value ->> 'session',
    a.value ->> 'claimed_at',
    a.value ->> 'resumed_from',
    a.value ->> 'outcome',
    $2,
    a.value ->> 'cpu_s',
    a.value ->> 'max_rss_bytes',
    a.value ->> 'processors',
    a.value -> 'error'
from jsonb_each($1) as a
where true
on conflict (run, node, item, n) do update set
    outcome = excluded.outcome,
    ended_at = excluded.ended_at,
    cpu_s = excluded.cpu_s,
    max_rss_bytes = excluded.max_rss_bytes,
    processors = excluded.processors,
    error = excluded.error
where attempt.outcome is null
