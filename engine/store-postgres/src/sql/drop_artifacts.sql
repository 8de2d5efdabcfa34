-- Drops records of objects of a step that are not what was recorded.
delete from artifact
where run = $1 and node = $2 and item = $3 and key = any($4::text[])
