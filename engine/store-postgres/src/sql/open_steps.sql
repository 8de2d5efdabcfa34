-- Steps that can be claimed from now on.
insert into ready (run, node, item, position, activity, kind, rank)
select *
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::bigint[]
)
where (select hold from premises)
on conflict do nothing
