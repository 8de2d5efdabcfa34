-- Steps that cannot be claimed any more.
delete from ready
using unnest($1::text[], $2::integer[], $3::integer[]) as k (run, position, item)
where
    ready.run = k.run and ready.position = k.position and ready.item = k.item
    and (select hold from premises)
