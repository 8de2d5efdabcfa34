-- Gives the steps of runs the places that their nodes have in the definition, which may be another one.
update step
set position = node.key
from json_each($1) as r, json_each(r.value, '$.nodes') as node
where step.run = r.value ->> 'run' and step.node = node.value and step.position <> node.key
