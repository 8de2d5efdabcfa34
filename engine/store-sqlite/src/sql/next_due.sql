-- When the next backoff or deadline is over.
select min(at)
from (
    select min(due_at) as at from step where status = 'backoff'
    union all
    select min(deadline_at) as at from step where deadline_at is not null
)
