-- Writes what executing a plan changed of a run as a whole.
update run
set
    workflow = r.value ->> 'workflow',
    version = r.value ->> 'version',
    definition = r.value ->> 'definition',
    fingerprint = r.value ->> 'fingerprint',
    queue = r.value ->> 'queue',
    priority = r.value ->> 'priority',
    amendments = r.value -> 'amendments',
    input = r.value -> 'input'
from jsonb_each($1) as r
where run.id = r.value ->> 'id'
