-- Steps of a run in the order of the definition and of its lists: all, or those that are not
-- settled.
select
    step.*,
    step_input.value as input,
    step_progress.value as progress,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to,
    checkpoint.compat as checkpoint_compat
from step
left join step_input
    on
        step_input.run = step.run
        and step_input.node = step.node
        and step_input.item = step.item
left join step_progress
    on
        step_progress.run = step.run
        and step_progress.node = step.node
        and step_progress.item = step.item
left join checkpoint
    on
        checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
where
    step.run = $1
    and ($2 or step.status in ('pending', 'ready', 'running', 'backoff'))
order by step.position, step.item
