-- Backoffs and deadlines that are over, oldest first. Each half reads its own partial index.
select run, node, item, null::bigint as fence, due_at as at
from step
where due_at is not null and due_at <= clock_timestamp()
union all
select run, node, item, fence, deadline_at as at
from step
where deadline_at is not null and deadline_at <= clock_timestamp()
order by at
limit $1
