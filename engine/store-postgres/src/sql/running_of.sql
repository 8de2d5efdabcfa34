-- What a session runs, in runs that have not ended: `run_live` has those. No index names the session of a
-- step, because it changes with every transition: sessions end rarely.
select step.run, step.node, step.item, step.fence
from run
inner join step on step.run = run.id
where run.ended_at is null and step.session = $1
order by step.run, step.position, step.item
