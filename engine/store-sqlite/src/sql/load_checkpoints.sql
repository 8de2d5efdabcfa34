-- The latest checkpoints of steps.
select c.run, c.node, c.item, c.seq, c.value, c.covers_from, c.covers_to, c.compat
from json_each($1) as k
inner join checkpoint as c
    on
        c.run = k.value ->> 'run'
        and c.node = k.value ->> 'node'
        and c.item = k.value ->> 'item'
