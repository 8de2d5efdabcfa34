-- Plans whose objects nobody has looked at, the latest first.
select id, run from plan where unproved = 1 and state = 'proposed' order by number desc limit $1
