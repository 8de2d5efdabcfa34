-- Gives the steps of a run the places that their nodes have in its definition, which may be another one.
update step
set position = node.place
from unnest($2::text[], $3::integer[]) as node (name, place)
where step.run = $1 and step.node = node.name and step.position <> node.place
