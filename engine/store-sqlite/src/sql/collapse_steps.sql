-- Removes the steps of nodes whose list is read anew; checkpoints and artifacts go with
-- them, attempts and events stay.
delete from step where run = $1 and node in (select value from json_each($2))
