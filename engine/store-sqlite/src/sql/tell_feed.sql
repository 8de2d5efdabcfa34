-- Says in the feed which events runs have that it does not know of: their last ones, so many of each.
insert into feed (run, first, last)
select told.run, told.last - told.events + 1, told.last
from (
    select
        e.value ->> 'run' as run,
        e.value ->> 'events' as events,
        (select max(seq) from event where event.run = e.value ->> 'run') as last
    from json_each($1) as e
) as told
