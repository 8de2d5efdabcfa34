-- Says where the objects of a run's generation of a name are, the first time that somebody knows.
update generation set keys = replace($3, '{n}', n)
where run = $1 and name = $2 and keys is null
