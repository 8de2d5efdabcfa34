-- Sessions that have not been ended, oldest first, and after how many microseconds the lease of each is
-- over: none if it is.
select
    id, name, expires_at,
    greatest(extract(epoch from expires_at - clock_timestamp()) * 1000000, 0)::bigint as left_us
from session
where id <> $1
order by opened_at, id
