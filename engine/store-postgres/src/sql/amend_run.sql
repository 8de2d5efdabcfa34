-- Writes what executing a plan changed of a run as a whole. A request that it leaves finds the latest of the
-- other runs that are it, and the one that it is now finds the run unless a later one has that.
with
leaves as (
    select fingerprint from run where id = $1 and fingerprint <> $5
),
amended as (
    update run
    set
        workflow = $2,
        version = $3,
        definition = $4,
        fingerprint = $5,
        queue = $6,
        priority = $7,
        amendments = $8,
        input = $9
    where id = $1
),
heir as (
    select max(other.run) as run
    from leaves
    inner join request_before as other on other.fingerprint = leaves.fingerprint
    inner join run on run.id = other.run and run.fingerprint = leaves.fingerprint
    where other.run <> $1
),
inherited as (
    update request set run = heir.run
    from leaves, heir
    where request.fingerprint = leaves.fingerprint and request.run = $1 and heir.run is not null
),
left_behind as (
    delete from request
    using leaves, heir
    where request.fingerprint = leaves.fingerprint and request.run = $1 and heir.run is null
),
remembered as (
    insert into request_before (fingerprint, run)
    select $5, request.run from request, leaves where request.fingerprint = $5
    union
    select $5, $1 from leaves
    on conflict do nothing
)
insert into request (fingerprint, run)
values ($5, $1)
on conflict (fingerprint) do update set run = greatest(request.run, excluded.run)
