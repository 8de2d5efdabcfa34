-- Drops the keys that were shared before the latest $1 times: by number, without counting.
delete from shared where number <= (select max(number) from shared) - $1
