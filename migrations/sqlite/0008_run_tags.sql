-- What runs are looked for by, so that a page of a list reads the runs that it shows and not all that
-- there are: `name=value` of each label, `=hash` of the media that input or output name, and the state of
-- a run that stopped without success. Of a run that has none of these there is no row, which is why it
-- costs the hot path nothing.
create table run_tag (
    tag text not null,
    run text not null,
    constraint run_tag_pk primary key (tag, run)
) strict, without rowid;

-- A label never changes, and none has a `=` in its name: the three kinds cannot be mistaken for each other.
create trigger run_tags_of_new after insert on run
when
    new.labels <> '{}'
    or instr(new.input, '"hash"') > 0
    or instr(new.output, '"hash"') > 0
    or new.status in ('held', 'failed', 'cancelled')
begin
    insert or ignore into run_tag (tag, run)
    select key || '=' || value, new.id from json_each(new.labels);
    insert or ignore into run_tag (tag, run)
    select '=' || (new.input ->> '$.hash'), new.id where json_type(new.input, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select '=' || (new.output ->> '$.hash'), new.id where json_type(new.output, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select new.status, new.id where new.status in ('held', 'failed', 'cancelled');
end;

create trigger run_tags_of_changed after update of status, output on run
when
    (old.output is null and instr(new.output, '"hash"') > 0)
    or (
        old.status <> new.status
        and (
            old.status in ('held', 'failed', 'cancelled')
            or new.status in ('held', 'failed', 'cancelled')
        )
    )
begin
    delete from run_tag where tag = old.status and run = new.id;
    insert or ignore into run_tag (tag, run)
    select '=' || (new.output ->> '$.hash'), new.id where json_type(new.output, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select new.status, new.id where new.status in ('held', 'failed', 'cancelled');
end;

insert or ignore into run_tag (tag, run)
select label.key || '=' || label.value, run.id from run, json_each(run.labels) as label;

insert or ignore into run_tag (tag, run)
select status, id from run where status in ('held', 'failed', 'cancelled');

insert or ignore into run_tag (tag, run)
select '=' || (input ->> '$.hash'), id from run where json_type(input, '$.hash') = 'text';

insert or ignore into run_tag (tag, run)
select '=' || (output ->> '$.hash'), id from run where json_type(output, '$.hash') = 'text';

-- Neither column ever changes.
create index run_workflow on run (workflow, id);
