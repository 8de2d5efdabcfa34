-- Tickets for ready steps that wait without: an older process at work knows of none. Reads no row while
-- there is no such step.
update step
set
    kind = run.queue || ' ' || step.activity || ' 1 0 0 none',
    rank = run.created_at - run.priority * 60000
from run
where step.status = 'ready' and step.kind is null and run.id = step.run
