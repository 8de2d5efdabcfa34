-- How many steps wait, by kind.
select kind, count(*) as steps from ready group by kind
