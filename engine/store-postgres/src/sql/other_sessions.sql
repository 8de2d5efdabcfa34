-- Sessions that have not been ended, oldest first, and whether the lease of each is over.
select id, name, expires_at, expires_at <= clock_timestamp() as dead
from session
where id <> $1
order by opened_at, id
