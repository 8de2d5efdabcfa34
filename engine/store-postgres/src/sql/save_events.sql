-- Appends events.
insert into event (run, seq, kind, step, data, at)
select e.*, $6 from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) as e
where (select hold from premises)
