-- Those of the sessions whose lease is not over. The lock lets them be renewed, but not be ended.
select id from session
where id = any($1::text[]) and expires_at > clock_timestamp()
order by id
for key share
