-- Makes a plan the run's latest: one of the same id is replaced, and its number is a new one.
replace into plan (id, run, state, body, head, steps, unproved)
values ($1, $2, $3, $4, $5, $6, $7)
