-- The run's latest plan.
select state, body from plan where run = $1 order by number desc limit 1
