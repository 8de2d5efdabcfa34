-- The last item of each of these nodes of a run that was ever attempted.
select
    wanted.value as node,
    (
        select attempt.item
        from attempt
        where attempt.run = $1 and attempt.node = wanted.value
        order by attempt.item desc
        limit 1
    ) as item
from json_each($2) as wanted
