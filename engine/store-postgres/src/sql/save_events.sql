-- Appends events, and says in the feed which they are.
with told as (
    insert into feed (runs, first, last) values ($7, $8, $9)
)
insert into event (run, seq, kind, step, data, at)
select e.*, $6 from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) as e
