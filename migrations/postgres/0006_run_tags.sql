-- What runs are looked for by, so that a page of a list reads the runs that it shows and not all that
-- there are: `name=value` of each label, `=hash` of the media that input or output name, and the state of
-- a run that stopped without success. Of a run that has none of these there is no row, which is why it
-- costs the hot path nothing.
create table run_tag (
    tag text collate "C" not null,
    run text collate "C" not null,
    constraint run_tag_pk primary key (tag, run)
);

-- A label never changes, and none has a `=` in its name: the three kinds cannot be mistaken for each other.
-- Where a \u0000 is, Postgres cannot look into JSON.
create function run_tags() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into run_tag (tag, run)
        select label.key || '=' || label.value, new.id
        from json_each_text(
            case when position('\u0000' in new.labels) = 0 then new.labels::json end
        ) as label
        on conflict do nothing;
    else
        delete from run_tag where tag = old.status and run = new.id;
    end if;
    insert into run_tag (tag, run)
    select new.status, new.id
    where new.status in ('held', 'failed', 'cancelled')
    union all
    select '=' || (said.hash #>> '{}'), new.id
    from (values (new.input), (new.output)) as document (body)
    cross join lateral (
        select
            case
                when position('"hash"' in document.body) > 0 and position('\u0000' in document.body) = 0
                    then document.body::json -> 'hash'
            end as hash
    ) as said
    where json_typeof(said.hash) = 'string'
    on conflict do nothing;
    return null;
end
$$;

create trigger run_tags_of_new after insert on run
for each row when (
    new.labels <> '{}'
    or position('"hash"' in new.input) > 0
    or position('"hash"' in new.output) > 0
    or new.status in ('held', 'failed', 'cancelled')
) execute function run_tags();

create trigger run_tags_of_changed after update of status, output on run
for each row when (
    (old.output is null and position('"hash"' in new.output) > 0)
    or (
        old.status <> new.status
        and (
            old.status in ('held', 'failed', 'cancelled')
            or new.status in ('held', 'failed', 'cancelled')
        )
    )
) execute function run_tags();

insert into run_tag (tag, run)
select label.key || '=' || label.value, run.id
from run
cross join lateral json_each_text(
    case when position('\u0000' in run.labels) = 0 then run.labels::json end
) as label
on conflict do nothing;

insert into run_tag (tag, run)
select status, id from run where status in ('held', 'failed', 'cancelled');

insert into run_tag (tag, run)
select '=' || (said.hash #>> '{}'), run.id
from run
cross join lateral (values (run.input), (run.output)) as document (body)
cross join lateral (
    select
        case
            when position('"hash"' in document.body) > 0 and position('\u0000' in document.body) = 0
                then document.body::json -> 'hash'
        end as hash
) as said
where json_typeof(said.hash) = 'string'
on conflict do nothing;

-- Neither column ever changes.
create index run_workflow on run (workflow, id);
