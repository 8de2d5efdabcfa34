-- Records objects of a step, in order. An object that is named again keeps its place, and its etag if nobody
-- knows a later one of the same bytes.
insert into artifact (run, node, item, key, size, sha256, media_type, etag)
select $1, $2, $3, a.key, a.size, a.sha256, a.media_type, a.etag
from
    unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
        as a (key, size, sha256, media_type, etag)
on conflict (run, node, item, key) do update set
    size = excluded.size,
    sha256 = excluded.sha256,
    media_type = excluded.media_type,
    etag = coalesce(
        excluded.etag, case when artifact.sha256 = excluded.sha256 then artifact.etag end
    )
