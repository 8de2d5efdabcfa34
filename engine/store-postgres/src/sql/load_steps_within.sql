-- Steps of a run within stretches of its nodes, in the order of the definition and of its lists.
select
    step.*,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to,
    checkpoint.compat as checkpoint_compat
from unnest($2::text[], $3::integer[], $4::integer[]) as part (node, first, last)
inner join step
    on step.run = $1 and step.node = part.node and step.item between part.first and part.last
left join checkpoint
    on
        step.checkpoints > 0
        and checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
order by step.position, step.item
