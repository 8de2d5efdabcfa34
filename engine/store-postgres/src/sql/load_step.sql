-- Steps by their keys, in the order of these. The checkpoint is only looked for where there was one.
select
    step.*,
    checkpoint.seq as checkpoint_seq,
    checkpoint.attempt as checkpoint_attempt,
    checkpoint.covers_from,
    checkpoint.covers_to
from unnest($1::text[], $2::text[], $3::integer[]) with ordinality as k (run, node, item, place)
inner join step on step.run = k.run and step.node = k.node and step.item = k.item
left join checkpoint
    on
        step.checkpoints > 0
        and checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
order by k.place
