-- Records objects of the outputs of steps, in order. An object that is named again keeps its place, and its
-- etag if nobody knows a later one of the same bytes.
insert into artifact (run, node, item, key, size, sha256, media_type, etag)
select
    a.value ->> 'run', a.value ->> 'node', a.value ->> 'item', a.value ->> 'key',
    a.value ->> 'size', a.value ->> 'sha256', a.value ->> 'media_type', a.value ->> 'etag'
from json_each($1) as a
where true
order by a.key
on conflict (run, node, item, key) do update set
    size = excluded.size,
    sha256 = excluded.sha256,
    media_type = excluded.media_type,
    etag = coalesce(excluded.etag, iif(sha256 = excluded.sha256, etag, null))
