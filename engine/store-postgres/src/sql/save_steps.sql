-- Writes steps that changed or are new. A plain upsert is right, also for columns that the writes of
-- attempts own: the run is locked, and what comes in between without its lock (progress, a deadline)
-- belongs to an attempt that ends here.
insert into step (
    run, node, item, position, activity, status, input, output, error, reason, fence, attempts,
    charged, losses, checkpoint_failures, session, due_at, deadline_at, progress, warnings, round,
    started_at, ended_at, outages, claimed_at, resumed_from
)
select *
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::bigint[], $12::integer[], $13::integer[],
    $14::integer[], $15::integer[], $16::text[], $17::timestamptz[], $18::timestamptz[],
    $19::text[], $20::text[], $21::integer[], $22::timestamptz[], $23::timestamptz[],
    $24::integer[], $25::timestamptz[], $26::bigint[]
)
where (select hold from premises)
on conflict (run, node, item) do update set
    status = excluded.status,
    input = coalesce(excluded.input, step.input),
    output = excluded.output,
    error = excluded.error,
    reason = excluded.reason,
    fence = excluded.fence,
    attempts = excluded.attempts,
    charged = excluded.charged,
    losses = excluded.losses,
    checkpoint_failures = excluded.checkpoint_failures,
    session = excluded.session,
    due_at = excluded.due_at,
    deadline_at = excluded.deadline_at,
    progress = coalesce(excluded.progress, step.progress),
    warnings = excluded.warnings,
    round = excluded.round,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    outages = excluded.outages,
    claimed_at = excluded.claimed_at,
    resumed_from = excluded.resumed_from
