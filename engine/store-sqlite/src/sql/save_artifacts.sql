-- Records objects of steps, in order. An object that is named again keeps its place; once the
-- output names it, it is more than a checkpoint's.
insert into artifact (run, node, item, key, size, sha256, media_type, from_checkpoint)
select
    $1, a.value ->> 'node', a.value ->> 'item', a.value ->> 'key', a.value ->> 'size',
    a.value ->> 'sha256', a.value ->> 'media_type', $3
from json_each($2) as a
where true
order by a.key
on conflict (run, node, item, key) do update set
    size = excluded.size,
    sha256 = excluded.sha256,
    media_type = excluded.media_type,
    from_checkpoint = min(from_checkpoint, excluded.from_checkpoint)
