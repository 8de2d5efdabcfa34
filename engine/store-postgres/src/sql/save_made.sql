-- Records what the reuse keys of steps are made of.
insert into made (run, node, item, value)
select * from unnest($1::text[], $2::text[], $3::integer[], $4::text[])
where (select hold from premises)
on conflict (run, node, item) do update set value = excluded.value
