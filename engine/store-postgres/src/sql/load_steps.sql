-- Steps of a run in the order of the definition and of its lists: all, or those that are not
-- settled.
select
    step.*,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to,
    checkpoint.compat as checkpoint_compat
from step
left join checkpoint
    on
        step.checkpoints > 0
        and checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
where
    step.run = $1
    and ($2 or step.status in ('pending', 'ready', 'running', 'backoff'))
order by step.position, step.item
