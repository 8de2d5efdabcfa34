-- Writes attempts that ended. One that a release before this one began has a row that knows how.
insert into attempt (
    run, node, item, n, round, worker, started_at, resumed_from, outcome, cpu_s, max_rss_bytes,
    processors, error, ended_at
)
select a.*, $14
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[],
    $7::timestamptz[], $8::bigint[], $9::text[], $10::double precision[], $11::bigint[],
    $12::integer[], $13::text[]
) as a
where (select hold from premises)
on conflict (run, node, item, n) do update set
    outcome = excluded.outcome,
    ended_at = excluded.ended_at,
    cpu_s = excluded.cpu_s,
    max_rss_bytes = excluded.max_rss_bytes,
    processors = excluded.processors,
    error = excluded.error
where attempt.outcome is null
