-- Puts a checkpoint in the place of the one before.
insert into checkpoint (
    run, node, item, seq, attempt, value, covers_from, covers_to, compat, saved_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (run, node, item) do update set
    seq = excluded.seq,
    attempt = excluded.attempt,
    value = excluded.value,
    covers_from = excluded.covers_from,
    covers_to = excluded.covers_to,
    compat = excluded.compat,
    saved_at = excluded.saved_at
