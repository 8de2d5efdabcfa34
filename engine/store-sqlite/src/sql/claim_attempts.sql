-- Writes the attempt of each step that was just claimed.
insert into attempt (run, node, item, n, round, worker, started_at, resumed_from)
select step.run, step.node, step.item, step.attempts, run.round, step.session, $2, checkpoint.seq
from json_each($1) as c
inner join step
    on
        step.run = c.value ->> 'run'
        and step.node = c.value ->> 'node'
        and step.item = c.value ->> 'item'
inner join run on run.id = step.run
left join checkpoint
    on
        checkpoint.run = step.run
        and checkpoint.node = step.node
        and checkpoint.item = step.item
