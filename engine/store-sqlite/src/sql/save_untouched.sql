-- Gives the pending steps of nodes that settled as a whole the node's status and reason.
update step
set
    status = n.value ->> 'status',
    reason = n.value ->> 'reason',
    round = (select round from run where id = $1),
    ended_at = $3
from json_each($2) as n
where step.run = $1 and step.node = n.value ->> 'name' and step.status = 'pending'
