-- Attempts of a run's steps within stretches of its nodes, in order.
select attempt.*
from json_each($2) as part
cross join attempt
    on
        attempt.run = $1
        and attempt.node = part.value ->> 'node'
        and attempt.item between part.value ->> 'first' and part.value ->> 'last'
order by attempt.node, attempt.item, attempt.n
