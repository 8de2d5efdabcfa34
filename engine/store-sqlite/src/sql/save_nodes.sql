-- Writes nodes that changed.
update node
set
    status = n.value ->> 'status',
    total = n.value ->> 'total',
    settled = n.value ->> 'settled',
    failed = n.value ->> 'failed',
    held = n.value ->> 'held',
    reason = n.value ->> 'reason'
from json_each($2) as n
where node.run = $1 and node.name = n.value ->> 'name'
