-- Writes steps that changed or are new, all in one statement: a fan-out opens 100,000 at once.
-- jsonb_each, because each of the columns is then found without parsing the row again: 0.8 s for
-- 100,000 steps where json_each took 2.2 s.
--
-- A step that is made anew under the name of an earlier one goes on with its numbers of attempts.
--
-- A plain upsert is right, also for columns that the writes of attempts own (the fence, what it resumed from): this transaction has held the
-- write lock since before it read the steps, or has found under it that their run is as it was read.
insert into step (
    run, node, item, position, activity, status, output, error, reason, fence, attempts,
    charged, losses, outages, checkpoint_failures, session, claimed_at, resumed_from, due_at, deadline_at, warnings, round, started_at,
    ended_at, kind, rank
)
select
    s.value ->> 'run',
    s.value ->> 'node',
    s.value ->> 'item',
    s.value ->> 'position',
    s.value ->> 'activity',
    s.value ->> 'status',
    s.value -> 'output',
    s.value -> 'error',
    s.value ->> 'reason',
    s.value ->> 'fence',
    case
        when s.value ->> 'attempts' > 0 or s.value ->> 'round' = 1 then s.value ->> 'attempts'
        else (
            select coalesce(max(attempt.n), 0)
            from attempt
            where
                attempt.run = s.value ->> 'run'
                and attempt.node = s.value ->> 'node'
                and attempt.item = s.value ->> 'item'
        )
    end,
    s.value ->> 'charged',
    s.value ->> 'losses',
    s.value ->> 'outages',
    s.value ->> 'checkpoint_failures',
    s.value ->> 'session',
    s.value ->> 'claimed_at',
    s.value ->> 'resumed_from',
    s.value ->> 'due_at',
    s.value ->> 'deadline_at',
    s.value -> 'warnings',
    s.value ->> 'round',
    s.value ->> 'started_at',
    s.value ->> 'ended_at',
    s.value ->> 'kind',
    s.value ->> 'rank'
from jsonb_each($1) as s
where true
on conflict (run, node, item) do update set
    status = excluded.status,
    output = excluded.output,
    error = excluded.error,
    reason = excluded.reason,
    fence = excluded.fence,
    attempts = excluded.attempts,
    charged = excluded.charged,
    losses = excluded.losses,
    outages = excluded.outages,
    checkpoint_failures = excluded.checkpoint_failures,
    session = excluded.session,
    claimed_at = excluded.claimed_at,
    resumed_from = excluded.resumed_from,
    due_at = excluded.due_at,
    deadline_at = excluded.deadline_at,
    warnings = excluded.warnings,
    round = excluded.round,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    kind = excluded.kind,
    rank = excluded.rank
