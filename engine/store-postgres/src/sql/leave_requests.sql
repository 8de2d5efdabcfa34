-- Gives the requests of runs that are forgotten to the latest of the other runs that are it.
with leaves as (
    select id, fingerprint from run where id = any($1)
),
heir as (
    select leaves.fingerprint, max(other.run) as run
    from leaves
    inner join request_before as other on other.fingerprint = leaves.fingerprint
    inner join run on run.id = other.run and run.fingerprint = leaves.fingerprint
    where other.run <> all($1)
    group by leaves.fingerprint
)
update request set run = heir.run
from leaves
inner join heir on heir.fingerprint = leaves.fingerprint
where request.fingerprint = leaves.fingerprint and request.run = leaves.id
