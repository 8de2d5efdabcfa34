-- Lets other runs find steps. A key that is known takes the latest step, and is the newest. The rows come in
-- the order of their keys, so that transactions that want the same ones wait and do not deadlock.
insert into shared (key, media, run, node, item, seal)
select *
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[])
on conflict (key, media) do update set
    number = default,
    run = excluded.run,
    node = excluded.node,
    item = excluded.item,
    seal = excluded.seal
