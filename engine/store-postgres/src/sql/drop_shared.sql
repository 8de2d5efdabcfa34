-- Drops the keys that were shared before the latest $1 times: by number, without counting. One that another
-- transaction holds is dropped by the next.
delete from shared
where number in (
    select number from shared
    where number <= (select max(number) from shared) - $1
    order by number
    for update skip locked
)
