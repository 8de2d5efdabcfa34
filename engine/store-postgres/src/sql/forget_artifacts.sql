-- Drops the artifacts of steps: what they recorded no longer counts.
delete from artifact
using unnest($1::text[], $2::text[], $3::integer[]) as k (run, node, item)
where artifact.run = k.run and artifact.node = k.node and artifact.item = k.item
