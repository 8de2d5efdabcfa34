-- Saves the progress of attempts that still own their step, and answers which those are.
update step
set progress = p.value -> 'progress'
from json_each($1) as p
where
    step.run = p.value ->> 'run'
    and step.node = p.value ->> 'node'
    and step.item = p.value ->> 'item'
    and step.fence = p.value ->> 'fence'
    and step.status = 'running'
returning run, node, item
