-- Steps of a run within stretches of its nodes, in the order of the definition and of its lists.
select
    step.*,
    step_input.value as input,
    step_progress.value as progress,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to,
    checkpoint.compat as checkpoint_compat
from json_each($2) as part
cross join step
    on
        step.run = $1
        and step.node = part.value ->> 'node'
        and step.item between part.value ->> 'first' and part.value ->> 'last'
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
order by step.position, step.item
