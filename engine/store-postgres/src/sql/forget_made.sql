-- Drops what the reuse keys of steps were made of that begin anew.
delete from made
using unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
where made.run = k.run and made.node = k.node and made.item = k.item
