-- Objects of the outputs of a run's steps within stretches of its nodes, in the order in which they were
-- recorded.
select artifact.node, artifact.item, artifact.key, size, sha256, media_type, etag
from json_each($2) as part
cross join artifact
    on
        artifact.run = $1
        and artifact.node = part.value ->> 'node'
        and artifact.item between part.value ->> 'first' and part.value ->> 'last'
order by artifact.id
