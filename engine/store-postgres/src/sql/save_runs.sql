-- Writes headers and nodes.
update run
set
    nodes = r.nodes,
    events = r.events,
    status = r.status,
    round = r.round,
    revision = r.revision,
    output = r.output,
    error = r.error,
    started_at = r.started_at,
    ended_at = r.ended_at
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::bigint[], $7::text[],
    $8::text[], $9::timestamptz[], $10::timestamptz[]
) as r (id, nodes, events, status, round, revision, output, error, started_at, ended_at)
where run.id = r.id and (select hold from premises)
