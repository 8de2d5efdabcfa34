-- Writes headers and nodes, and takes numbers for the events of each run; answers the first of them.
-- A run without a new header (no status) keeps its own.
update run
set
    nodes = r.nodes,
    events = run.events + r.events,
    status = coalesce(r.status, run.status),
    round = coalesce(r.round, run.round),
    revision = coalesce(r.revision, run.revision),
    output = case when r.status is null then run.output else r.output end,
    error = case when r.status is null then run.error else r.error end,
    started_at = case when r.status is null then run.started_at else r.started_at end,
    ended_at = case when r.status is null then run.ended_at else r.ended_at end
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::bigint[], $7::text[],
    $8::text[], $9::timestamptz[], $10::timestamptz[]
) as r (id, nodes, events, status, round, revision, output, error, started_at, ended_at)
where run.id = r.id
returning run.id, run.events - r.events + 1
