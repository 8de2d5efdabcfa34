-- Takes a request key, unless somebody has it. Answers what it stands for then.
insert into request_key as k (key, digest, run, taken_at)
values ($1, $2, $3, $4)
on conflict (key) do update set key = k.key
returning run, digest
