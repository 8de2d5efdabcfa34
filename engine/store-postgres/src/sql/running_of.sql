-- What a session runs. No index names the session of a step, because it changes with every
-- transition: sessions end rarely, and the steps of runs that move are few next to all.
select step.run, step.node, step.item, step.fence
from run
inner join step on step.run = run.id
where run.status in ('queued', 'running') and step.session = $1
order by step.run, step.position, step.item
