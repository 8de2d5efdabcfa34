-- Artifacts of a run's steps within stretches of its nodes, in the order in which they were recorded.
select
    artifact.node,
    artifact.item,
    artifact.key,
    artifact.size,
    artifact.sha256,
    artifact.media_type,
    artifact.etag
from unnest($2::text[], $3::integer[], $4::integer[]) as part (node, first, last)
inner join artifact
    on
        artifact.run = $1
        and artifact.node = part.node
        and artifact.item between part.first and part.last
order by artifact.id
