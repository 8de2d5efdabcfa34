-- Attempts of a run's steps within stretches of its nodes, in order.
select attempt.*
from unnest($2::text[], $3::integer[], $4::integer[]) as part (node, first, last)
inner join attempt
    on
        attempt.run = $1
        and attempt.node = part.node
        and attempt.item between part.first and part.last
order by attempt.node, attempt.item, attempt.n
