-- Inserts headers and nodes of runs.
insert into run (
    id, workflow, version, definition, status, round, revision, events, nodes, input, fingerprint,
    source_store, media_store, queue, priority, labels, output, error, created_at, started_at,
    ended_at
)
select
    r.value ->> 'id', r.value ->> 'workflow', r.value ->> 'version', r.value ->> 'definition',
    r.value ->> 'status', r.value ->> 'round', r.value ->> 'revision', r.value ->> 'events',
    r.value -> 'nodes', r.value -> 'input', r.value ->> 'fingerprint', r.value ->> 'source_store',
    r.value ->> 'media_store', r.value ->> 'queue', r.value ->> 'priority', r.value -> 'labels',
    r.value -> 'output', r.value -> 'error', r.value ->> 'created_at', r.value ->> 'started_at',
    r.value ->> 'ended_at'
from jsonb_each($1) as r
