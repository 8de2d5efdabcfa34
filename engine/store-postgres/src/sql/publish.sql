-- Moves a publication, forward only: readers who saw a later set do not go back to an earlier one
-- because an old job ends late. What is current already is not moved, so that the answer to an
-- attempt that publishes again is the one that its predecessor may have missed.
insert into publication (name, generation, moved_at)
values ($1, $2, $3)
on conflict (name) do update set
    previous = publication.generation,
    generation = excluded.generation,
    moved_at = excluded.moved_at
where publication.generation < excluded.generation
