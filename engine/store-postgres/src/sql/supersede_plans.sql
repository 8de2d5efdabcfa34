-- A later plan takes the place of those that nobody executed.
update plan set state = 'superseded' where run = $1 and id <> $2 and state = 'proposed'
