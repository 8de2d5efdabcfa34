-- Of the plans of a run that were superseded, all but the latest few go.
delete from plan
where
    run = $1
    and state = 'superseded'
    and number <= (
        select number
        from plan
        where run = $1 and state = 'superseded'
        order by number desc
        limit 1 offset $2
    )
