-- The latest run of a fingerprint.
select id from run where fingerprint = $1 order by id desc limit 1
