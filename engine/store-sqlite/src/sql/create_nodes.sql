-- Inserts the nodes of a new run; their place in the array is their place in the definition.
insert into node (run, name, position, status, total, settled, failed, held, reason)
select
    $1, n.value ->> 'name', n.key, n.value ->> 'status', n.value ->> 'total',
    n.value ->> 'settled', n.value ->> 'failed', n.value ->> 'held', n.value ->> 'reason'
from json_each($2) as n
