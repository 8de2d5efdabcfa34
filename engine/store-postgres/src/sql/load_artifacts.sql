-- Artifacts of a run's steps, in the order in which they were recorded.
select node, item, key, size, sha256, media_type, etag from artifact where run = $1 order by id
