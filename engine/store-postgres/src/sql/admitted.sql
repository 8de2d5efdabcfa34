-- Whether so many sessions are live, and these runs have the fingerprints that were to be taken.
select
    (select count(*) from live) = $1::bigint
    and (select count(*) from taken where run = any($2::text[])) = cardinality($2::text[]) as hold
