-- Inserts the nodes of new runs.
insert into node (run, name, position, status, total, settled, failed, held, reason)
select
    n.value ->> 'run', n.value ->> 'name', n.value ->> 'position', n.value ->> 'status',
    n.value ->> 'total', n.value ->> 'settled', n.value ->> 'failed', n.value ->> 'held',
    n.value ->> 'reason'
from jsonb_each($1) as n
