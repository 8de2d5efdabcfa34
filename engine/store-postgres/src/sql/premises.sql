-- Whether all that the other parts were prepared on is so. They write nothing before it is known.
select hold and (select count(*) from locked) = $1::bigint as hold from admitted
