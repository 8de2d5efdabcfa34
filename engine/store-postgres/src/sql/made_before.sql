-- The last attempts made under the names of steps.
select k.run, k.node, k.item, a.n
from unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
cross join lateral (
    select n
    from attempt
    where attempt.run = k.run and attempt.node = k.node and attempt.item = k.item
    order by n desc
    limit 1
) as a
