-- What the attempts of the steps just claimed need, in the order of the claims.
select
    step.run, step.node, step.item, step.fence, step.attempts, step.activity,
    step_input.value as input, step.started_at, run.definition, run.source_store, run.media_store,
    checkpoint.seq, checkpoint.value, checkpoint.covers_from, checkpoint.covers_to,
    checkpoint.compat
from json_each($1) as c
inner join step
    on
        step.run = c.value ->> 'run'
        and step.node = c.value ->> 'node'
        and step.item = c.value ->> 'item'
inner join run on run.id = step.run
left join step_input
    on
        step_input.run = step.run
        and step_input.node = step.node
        and step_input.item = step.item
left join checkpoint
    on
        checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
order by step.run, step.position, step.item
