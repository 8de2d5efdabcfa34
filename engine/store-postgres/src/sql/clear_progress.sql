-- Forgets the progress of steps that begin anew.
update step
set progress = null
from unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
where step.run = k.run and step.node = k.node and step.item = k.item
