-- Before the steps of nodes are removed: keeps the highest fence that any of them had.
update node
set fence = max(
    fence,
    coalesce((select max(step.fence) from step where step.run = $1 and step.node = node.name), 0)
)
where run = $1 and name in (select value from json_each($2))
