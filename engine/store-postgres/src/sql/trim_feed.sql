-- Drops those of the oldest entries of the feed whose first event is so old, or forgotten. The newest one stays.
delete from feed
where (after_xact, n) in (
    select oldest.after_xact, oldest.n
    from (
        select *
        from feed
        where
            (after_xact, n) < (
                select after_xact, n from feed order by after_xact desc, n desc limit 1
            )
        order by after_xact, n
        limit $2
    ) as oldest
    left join event on event.run = oldest.runs[1] and event.seq = oldest.first[1]
    where event.at is null or event.at <= now() - make_interval(secs => $1)
)
