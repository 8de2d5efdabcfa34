-- Says in the feed which events runs have that it does not know of.
insert into feed (run, first, last)
select e.value ->> 'run', e.value ->> 'first', e.value ->> 'last' from json_each($1) as e
