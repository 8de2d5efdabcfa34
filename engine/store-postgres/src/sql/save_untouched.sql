-- Gives the pending steps of a node that settled as a whole the node's status and reason.
update step
set status = $3, reason = $4, round = (select round from run where id = $1), ended_at = $5
where run = $1 and node = $2 and status = 'pending'
