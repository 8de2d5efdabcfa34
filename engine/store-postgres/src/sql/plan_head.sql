-- The run's latest plan with its first steps.
select state, coalesce(head, body) as body, steps
from plan
where run = $1
order by number desc
limit 1
