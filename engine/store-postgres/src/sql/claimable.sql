-- Ready steps, oldest run first, then in the order of the definition and of its lists. Ids of runs
-- sort by time, and between '' and '~' is every one of them: with an equality on a run that may be
-- null the index could not be used.
select run, node, item
from ready
where
    run >= coalesce($1, '') and run <= coalesce($1, '~')
    and activity = any($2)
order by run, position, item
limit $3
