-- What the reuse keys of a run's steps are made of.
select node, item, value from made where run = $1
