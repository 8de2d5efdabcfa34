-- Sessions that have not been ended, oldest first.
select id, name, expires_at from session where id <> $1 order by opened_at, id
