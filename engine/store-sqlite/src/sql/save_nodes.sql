-- Writes nodes that changed.
update node
set
    status = n.value ->> 'status',
    total = n.value ->> 'total',
    settled = n.value ->> 'settled',
    failed = n.value ->> 'failed',
    held = n.value ->> 'held',
    reason = n.value ->> 'reason'
from jsonb_each($1) as n
where node.run = n.value ->> 'run' and node.name = n.value ->> 'name'
