-- Gives the pending steps of nodes that settled as a whole the node's status and reason.
update step
set
    status = n.value ->> 'status',
    reason = n.value ->> 'reason',
    round = (select round from run where id = step.run),
    ended_at = $2
from json_each($1) as n
where
    step.run = n.value ->> 'run' and step.node = n.value ->> 'node' and step.status = 'pending'
