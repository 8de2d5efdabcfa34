-- What a session runs.
select run, node, item, fence from step where session = $1 order by run, position, item
