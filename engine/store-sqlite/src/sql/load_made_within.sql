-- What the reuse keys of a run's steps are made of, within stretches of its nodes.
select made.node, made.item, made.value
from json_each($2) as part
cross join made
    on
        made.run = $1
        and made.node = part.value ->> 'node'
        and made.item between part.value ->> 'first' and part.value ->> 'last'
