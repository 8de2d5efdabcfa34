-- Lets other runs find steps. A key that is known takes the latest step, and is the newest.
insert or replace into shared (key, media, run, node, item, seal)
select
    s.value ->> 'key', s.value ->> 'media', s.value ->> 'run', s.value ->> 'node',
    s.value ->> 'item', s.value ->> 'seal'
from json_each($1) as s
