-- Rows with events of all runs behind a place of the feed, in its order. Of entries that others may still come before,
-- nothing is shown.
select feed.after_xact, feed.n, part.place, event.*
from feed
cross join lateral
    unnest(feed.runs, feed.first, feed.last) with ordinality as part (run, first, last, place)
cross join lateral (
    select e.run, e.seq, e.at, e.kind, e.step, e.data, e.earlier
    from event as e
    where
        e.run = part.run
        and e.seq >= part.first
        and e.seq <= part.last
        and (feed.after_xact, feed.n, part.place, e.seq) > ($1, $2, $3, $4)
    order by e.seq
    limit $5
) as event
where
    (feed.after_xact, feed.n) >= ($1, $2)
    and feed.after_xact <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
order by feed.after_xact, feed.n, part.place, event.seq
limit $5
