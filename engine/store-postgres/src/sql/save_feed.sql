-- Says in the feed which events there are.
insert into feed (runs, first, last)
select $1, $2, $3 where (select hold from premises)
