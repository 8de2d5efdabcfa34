-- What the latest checkpoints of steps grew by since they were saved whole, in order.
select g.run, g.node, g.item, g.value
from json_each($1) as k
inner join checkpoint_growth as g
    on
        g.run = k.value ->> 'run'
        and g.node = k.value ->> 'node'
        and g.item = k.value ->> 'item'
order by g.run, g.node, g.item, g.seq
