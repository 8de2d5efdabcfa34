-- One step, by its key: what most commands of a wide fan-out need.
select
    step.*,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to
from step
left join checkpoint
    on
        checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
where step.run = $1 and step.node = $2 and step.item = $3
