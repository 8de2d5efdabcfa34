-- Rows with events of a run behind a number, in order.
select seq, at, kind, step, data, earlier
from event
where run = $1 and seq > $2
order by seq
limit $3
