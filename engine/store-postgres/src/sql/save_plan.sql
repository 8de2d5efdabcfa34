-- Makes a plan the run's latest: one of the same id is replaced, and its number is a new one.
insert into plan (id, run, state, body, head, steps, unproved)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (id) do update set
    number = default,
    state = excluded.state,
    body = excluded.body,
    head = excluded.head,
    steps = excluded.steps,
    unproved = excluded.unproved
