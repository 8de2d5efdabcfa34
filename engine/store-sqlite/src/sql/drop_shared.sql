-- Drops the keys that were shared before as many as $1 says: by number, without counting.
delete from shared where number <= (select max(number) from shared) - ($1 ->> 0)
