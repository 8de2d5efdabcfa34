-- The last entry of the feed.
select coalesce(max(n), 0) from feed
