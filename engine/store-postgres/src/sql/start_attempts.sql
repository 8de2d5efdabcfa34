-- Writes attempts that begin.
insert into attempt (run, node, item, n, round, worker, resumed_from, started_at)
select a.*, $8
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::bigint[]
) as a
where (select hold from premises)
