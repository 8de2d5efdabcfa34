-- What the reuse keys of a run's steps are made of, within stretches of its nodes.
select made.node, made.item, made.value
from unnest($2::text[], $3::integer[], $4::integer[]) as part (node, first, last)
inner join made
    on
        made.run = $1
        and made.node = part.node
        and made.item between part.first and part.last
