-- Events of a run, in order.
select seq, at, kind, step, data from event where run = $1 and seq > $2 order by seq limit $3
