-- Backoffs and deadlines that are over, oldest first. Each half reads its own partial index.
select run, node, item, null as fence, due_at as at
from step
where status = 'backoff' and due_at <= $1
union all
select run, node, item, fence, deadline_at as at
from step
where deadline_at is not null and deadline_at <= $1
order by at
limit $2
