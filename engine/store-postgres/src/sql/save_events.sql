-- Appends events.
insert into event (run, seq, kind, step, data, earlier, at)
select e.*, $7
from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[]) as e
where (select hold from premises)
