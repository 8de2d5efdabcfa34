-- Locks those of the runs that are at their revision, in the order of their ids. Sessions and
-- fingerprints are locked before runs, here and elsewhere.
select run.id
from run
inner join unnest($1::text[], $2::bigint[]) as r (id, revision) on run.id = r.id
where run.revision = r.revision and (select hold from admitted)
order by run.id
for update of run
