-- Records objects of steps, in order. An object that is named again keeps its place, and its etag if nobody
-- knows a later one of the same bytes.
insert into artifact (run, node, item, key, size, sha256, media_type, etag)
select *
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[]
)
where (select hold from premises)
on conflict (run, node, item, key) do update set
    size = excluded.size,
    sha256 = excluded.sha256,
    media_type = excluded.media_type,
    etag = coalesce(
        excluded.etag, case when artifact.sha256 = excluded.sha256 then artifact.etag end
    )
