-- A plan of any run.
select state, body from plan where id = $1
