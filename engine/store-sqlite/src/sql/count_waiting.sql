-- How many steps wait, by kind.
select kind, count(*) as steps from step where status = 'ready' and kind is not null group by kind
