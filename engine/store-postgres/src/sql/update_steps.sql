-- Writes steps that changed. See `save_steps`, whose columns these are.
update step
set
    status = s.status,
    input = coalesce(s.input, step.input),
    output = s.output,
    error = s.error,
    reason = s.reason,
    fence = s.fence,
    attempts = s.attempts,
    charged = s.charged,
    losses = s.losses,
    checkpoint_failures = s.checkpoint_failures,
    session = s.session,
    due_at = s.due_at,
    deadline_at = s.deadline_at,
    progress = coalesce(s.progress, step.progress),
    warnings = s.warnings,
    round = s.round,
    started_at = s.started_at,
    ended_at = s.ended_at,
    outages = s.outages,
    claimed_at = s.claimed_at,
    resumed_from = s.resumed_from
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::bigint[], $12::integer[], $13::integer[],
    $14::integer[], $15::integer[], $16::text[], $17::timestamptz[], $18::timestamptz[],
    $19::text[], $20::text[], $21::integer[], $22::timestamptz[], $23::timestamptz[],
    $24::integer[], $25::timestamptz[], $26::bigint[]
) as s (
    run, node, item, position, activity, status, input, output, error, reason, fence, attempts,
    charged, losses, checkpoint_failures, session, due_at, deadline_at, progress, warnings, round,
    started_at, ended_at, outages, claimed_at, resumed_from
)
where
    step.run = s.run and step.node = s.node and step.item = s.item
    and (select hold from premises)
returning 1
