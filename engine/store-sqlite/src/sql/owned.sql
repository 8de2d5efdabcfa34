-- Which attempts still own their step.
select step.run, step.node, step.item
from json_each($1) as p
inner join step
    on
        step.run = p.value ->> 'run'
        and step.node = p.value ->> 'node'
        and step.item = p.value ->> 'item'
        and step.fence = p.value ->> 'fence'
        and step.status = 'running'
