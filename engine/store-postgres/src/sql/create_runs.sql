-- Inserts headers and nodes of runs.
insert into run (
    id, workflow, version, definition, status, round, revision, events, nodes, input, fingerprint,
    source_store, media_store, labels, output, error, created_at, started_at, ended_at,
    queue, priority
)
select *
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::integer[], $7::bigint[],
    $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::text[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[],
    $20::text[], $21::integer[]
)
where (select hold from premises)
