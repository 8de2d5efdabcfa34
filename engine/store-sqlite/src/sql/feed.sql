-- Rows with events of all runs behind a place of the feed, in its order.
select feed.n, event.run, event.seq, event.at, event.kind, event.step, event.data,
    event.earlier
from feed
cross join event
    on
        event.run = feed.run
        and event.seq between feed.first and feed.last
        and (feed.n, event.seq) > ($1, $2)
where feed.n >= $1
order by feed.n, event.seq
limit $3
