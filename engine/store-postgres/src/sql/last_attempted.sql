-- The last item of each of these nodes of a run that was ever attempted.
select
    wanted.node,
    (
        select attempt.item
        from attempt
        where attempt.run = $1 and attempt.node = wanted.node
        order by attempt.item desc
        limit 1
    ) as item
from unnest($2::text[]) as wanted (node)
