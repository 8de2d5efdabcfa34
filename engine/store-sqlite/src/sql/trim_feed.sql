-- Drops those of the oldest entries of the feed whose first event is so old, or forgotten. The newest one stays, whose
-- number says what the next one gets.
delete from feed
where n in (
    select oldest.n
    from (select * from feed where n < (select max(n) from feed) order by n limit $2) as oldest
    left join event on event.run = oldest.run and event.seq = oldest.first
    where event.at is null or event.at <= $1
)
