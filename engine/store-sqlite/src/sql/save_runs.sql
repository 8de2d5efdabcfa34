-- Writes headers and nodes.
update run
set
    status = r.value ->> 'status',
    round = r.value ->> 'round',
    revision = r.value ->> 'revision',
    events = r.value ->> 'events',
    nodes = r.value -> 'nodes',
    output = r.value -> 'output',
    error = r.value -> 'error',
    started_at = r.value ->> 'started_at',
    ended_at = r.value ->> 'ended_at'
from jsonb_each($1) as r
where run.id = r.value ->> 'id'
