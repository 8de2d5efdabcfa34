-- Microseconds until the next backoff or deadline is over; less than none if one is over already.
select (extract(epoch from least(
    (select min(due_at) from step where due_at is not null),
    (select min(deadline_at) from step where deadline_at is not null)
) - clock_timestamp()) * 1000000)::bigint
