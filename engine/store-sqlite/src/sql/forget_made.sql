-- Drops what the reuse keys of steps were made of that begin anew.
delete from made
where (run, node, item) in (
    select s.value ->> 'run', s.value ->> 'node', s.value ->> 'item' from json_each($1) as s
)
