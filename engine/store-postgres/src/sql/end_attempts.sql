-- Ends attempts.
update attempt
set
    outcome = a.outcome,
    ended_at = $10,
    cpu_s = a.cpu_s,
    max_rss_bytes = a.max_rss_bytes,
    processors = a.processors,
    error = a.error
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::double precision[],
    $7::bigint[], $8::integer[], $9::text[]
) as a (run, node, item, n, outcome, cpu_s, max_rss_bytes, processors, error)
where
    attempt.run = a.run and attempt.node = a.node and attempt.item = a.item and attempt.n = a.n
    and (select hold from premises)
