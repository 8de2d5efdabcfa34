-- Inserts the header and the nodes of a run.
insert into run (
    id, workflow, version, definition, status, round, revision, nodes, input, fingerprint,
    source_store, media_store, labels, output, error, created_at, started_at, ended_at, queue,
    priority
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
