-- Attempts of a run's steps, in order.
select * from attempt where run = $1 order by node, item, n
