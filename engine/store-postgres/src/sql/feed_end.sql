-- The last entry of the feed that is shown.
select after_xact, n
from feed
where after_xact <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
order by after_xact desc, n desc
limit 1
