-- Gives the steps of a run the places that their nodes have in its definition, which may be another one.
update step
set position = node.key
from json_each($2) as node
where step.run = $1 and step.node = node.value and step.position <> node.key
