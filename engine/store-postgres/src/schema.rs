//! The schema, brought up to date when a database is opened.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, SqlSafeStr as _};
use telecine_engine::store::StoreError;

use crate::error::Error;

/// How long a server gets to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// The oldest server whose SQL this is, as `server_version_num` says it.
const OLDEST_SERVER: i32 = 150_000;

/// The migrations, oldest first: number, what it does, statements. Never change one that was
/// released; add the next. A process of the version before may still be at work while one is
/// applied: add first, remove in a later release.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "init",
        include_str!("../../../migrations/postgres/0001_init.sql"),
    ),
    (
        2,
        "checkpoint growth",
        include_str!("../../../migrations/postgres/0002_checkpoint_growth.sql"),
    ),
    (
        3,
        "request keys",
        include_str!("../../../migrations/postgres/0003_request_keys.sql"),
    ),
    (
        4,
        "queues",
        include_str!("../../../migrations/postgres/0004_queues.sql"),
    ),
    (
        5,
        "offers",
        include_str!("../../../migrations/postgres/0005_offers.sql"),
    ),
    (
        6,
        "run tags",
        include_str!("../../../migrations/postgres/0006_run_tags.sql"),
    ),
    (
        7,
        "feed",
        include_str!("../../../migrations/postgres/0007_feed.sql"),
    ),
    (
        8,
        "plan head",
        include_str!("../../../migrations/postgres/0008_plan_head.sql"),
    ),
    (
        9,
        "beats",
        include_str!("../../../migrations/postgres/0009_beats.sql"),
    ),
    (
        10,
        "amendments",
        include_str!("../../../migrations/postgres/0010_amendments.sql"),
    ),
    (
        11,
        "reuse",
        include_str!("../../../migrations/postgres/0011_reuse.sql"),
    ),
    (
        12,
        "run live",
        include_str!("../../../migrations/postgres/0012_run_live.sql"),
    ),
    (
        13,
        "request before",
        include_str!("../../../migrations/postgres/0013_request_before.sql"),
    ),
    (
        14,
        "from checkpoint",
        include_str!("../../../migrations/postgres/0014_from_checkpoint.sql"),
    ),
    (
        15,
        "processors",
        include_str!("../../../migrations/postgres/0015_processors.sql"),
    ),
    (
        16,
        "published_by",
        include_str!("../../../migrations/postgres/0016_published_by.sql"),
    ),
    (
        17,
        "swept",
        include_str!("../../../migrations/postgres/0017_swept.sql"),
    ),
    (
        18,
        "retention",
        include_str!("../../../migrations/postgres/0018_retention.sql"),
    ),
    (
        19,
        "outages",
        include_str!("../../../migrations/postgres/0019_outages.sql"),
    ),
    (
        20,
        "etag",
        include_str!("../../../migrations/postgres/0020_etag.sql"),
    ),
    (
        21,
        "unproved",
        include_str!("../../../migrations/postgres/0021_unproved.sql"),
    ),
    (
        22,
        "earlier_events",
        include_str!("../../../migrations/postgres/0022_earlier_events.sql"),
    ),
    (
        23,
        "attempts_once",
        include_str!("../../../migrations/postgres/0023_attempts_once.sql"),
    ),
];

/// Checks the server and applies what is missing, under a lock: of two processes that open a new
/// database at once, one waits and finds it done.
pub(crate) async fn bring_up_to_date(options: &PgConnectOptions) -> Result<(), Error> {
    let mut connection = connect(options).await?;
    check_server(&mut connection).await?;
    if is_up_to_date(&mut connection).await? {
        return Ok(());
    }
    connection.lock().await.map_err(refused)?;
    let done = migrator(MIGRATIONS)
        .run_direct(None, &mut connection, false)
        .await;
    connection.unlock().await.map_err(refused)?;
    done.map_err(refused)
}

/// Connects without a pool, which would only say that it took too long.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    // To change a large table takes as long as it takes, also for those who wait for the lock meanwhile.
    let unlimited = options
        .clone()
        .options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let connecting = tokio::time::timeout(CONNECT, PgConnection::connect_with(&unlimited)).await;
    let trouble = match connecting {
        Ok(Err(sqlx::Error::Io(error))) => error.to_string(),
        Ok(connected) => return Ok(connected?),
        Err(_) => "no answer".to_owned(),
    };
    let place = match options.get_socket() {
        Some(directory) => directory.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    Err(StoreError::Unreachable(format!("{place}: {trouble}")).into())
}

async fn check_server(connection: &mut PgConnection) -> Result<(), Error> {
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::integer")
        .fetch_one(&mut *connection)
        .await?;
    if version >= OLDEST_SERVER {
        return Ok(());
    }
    let (have, need) = (version / 10_000, OLDEST_SERVER / 10_000);
    Err(StoreError::Incompatible(format!(
        "the server is Postgres {have}; telecine needs {need} or newer"
    ))
    .into())
}

/// Most starts find nothing to do, and need neither the lock nor the right to change the schema.
async fn is_up_to_date(connection: &mut PgConnection) -> Result<bool, Error> {
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(false);
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations where success order by version")
            .fetch_all(connection)
            .await?;
    Ok(applied
        .iter()
        .eq(MIGRATIONS.iter().map(|(number, ..)| number)))
}

/// The number of the schema, if it is one that only a newer release knows.
pub(crate) async fn newer(connection: &mut PgConnection) -> Result<Option<i64>, Error> {
    let known = MIGRATIONS.last().map_or(0, |(number, ..)| *number);
    let newest: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(connection)
            .await?;
    Ok(newest.filter(|newest| *newest > known))
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, name, sql)| {
        Migration::new(
            *version,
            (*name).into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

fn refused(error: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError as E;
    match error {
        E::VersionMissing(version) => StoreError::Incompatible(format!(
            "it was written by a newer version of telecine (schema {version}): update this one"
        ))
        .into(),
        E::VersionMismatch(version) | E::Dirty(version) => {
            StoreError::Incompatible(format!("its schema {version} is not the one of telecine"))
                .into()
        }
        E::Execute(error) | E::ExecuteMigration(error, _) => error.into(),
        other => StoreError::Unavailable(other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use telecine_engine::id::RunId;
    use telecine_engine::queue::Queue;
    use telecine_engine::run::{AttemptOutcome, RunStatus, StepStatus};
    use telecine_engine::store::{FeedPlace, RunFilter, Store as _};
    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::connect::options;
    use crate::{PostgresStore, claim};

    /// Every table with its columns, constraints and settings, every index and every trigger, as
    /// statements.
    const DUMP: &str = "
        with tables as (
            select c.oid, c.relname, c.reloptions
            from pg_class as c
            where
                c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'
                and c.relname <> '_sqlx_migrations'
        ),
        lines as (
            select
                a.attrelid as oid, 0 as part, a.attnum::text as name, a.attnum as place,
                a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                || coalesce(' collate ' || quote_ident(nullif(l.collname, 'default')), '')
                || case when a.attnotnull then ' not null' else '' end
                || case when a.attidentity = 'a' then ' generated always as identity' else '' end
                || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') as line
            from pg_attribute as a
            left join pg_collation as l on l.oid = a.attcollation
            left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attnum > 0 and not a.attisdropped
            union all
            select
                conrelid, 1, conname, 0,
                'constraint ' || conname || ' ' || pg_get_constraintdef(oid)
            from pg_constraint
            where contype <> 'n'
        ),
        statements as (
            select
                t.relname, '' as name,
                'create table ' || t.relname || E' (\n    '
                || string_agg(l.line, E',\n    ' order by l.part, l.place, l.name collate \"C\")
                || E'\n)'
                || coalesce(' with (' || array_to_string(t.reloptions, ', ') || ')', '')
                || ';' as statement
            from tables as t
            inner join lines as l using (oid)
            group by t.relname, t.reloptions
            union all
            select
                t.relname, i.relname,
                replace(pg_get_indexdef(x.indexrelid), current_schema() || '.', '') || ';'
            from pg_index as x
            inner join tables as t on t.oid = x.indrelid
            inner join pg_class as i on i.oid = x.indexrelid
            where not exists (select 1 from pg_constraint where conindid = x.indexrelid)
            union all
            select
                t.relname, g.tgname,
                replace(
                    rtrim(pg_get_functiondef(g.tgfoid), E'\n') || E';\n\n' || pg_get_triggerdef(g.oid) || ';',
                    current_schema() || '.', ''
                )
            from pg_trigger as g
            inner join tables as t on t.oid = g.tgrelid
            where not g.tgisinternal
        )
        select statement from statements order by relname collate \"C\", name collate \"C\"";

    #[tokio::test]
    async fn a_second_process_waits_for_migrations_for_as_long_as_they_take() {
        let place = PostgresSchema::create().await;
        let impatient = options(place.url())
            .unwrap()
            .options([("lock_timeout", "50")]);
        let mut migrating = connect(&impatient).await.unwrap();
        migrating.lock().await.unwrap();
        let second = tokio::spawn(async move { bring_up_to_date(&impatient).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!second.is_finished());
        migrating.unlock().await.unwrap();
        second.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_dumped_schema_is_what_the_migrations_make() {
        let place = PostgresSchema::create().await;
        let options = options(place.url()).unwrap();
        bring_up_to_date(&options).await.unwrap();
        let mut connection = connect(&options).await.unwrap();
        let made: Vec<String> = sqlx::query_scalar(DUMP)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let made = format!(
            "-- What the migrations add up to. Made by a test: TELECINE_UPDATE_SCHEMA=1 cargo test \
             -p telecine-store-postgres schema\n\n{}\n",
            made.join("\n\n")
        );
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/postgres/schema.sql");
        if std::env::var_os("TELECINE_UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made);
    }

    /// What was there before the fourth migration: a job at work, with a step that runs, one that waits and
    /// what both left, and one that failed.
    const BEFORE_QUEUES: &str = r#"
        insert into definition values ('d', 'n', 1, '{}', now());
        insert into run (id, workflow, version, definition, status, round, revision, events, nodes, input,
            fingerprint, source_store, media_store, labels, created_at, ended_at)
        values ('job_1', 'n', 1, 'd', 'running', 1, 1, 2, '[{"name":"a","status":"ready","total":2,
            "settled":0,"failed":0,"held":0,"reason":null}]', '{"hash":"blake3:1"}', 'f', 's', 'm',
            '{"team":"news"}', to_timestamp(600), null),
            ('job_2', 'n', 1, 'd', 'failed', 1, 1, 1, '[]', '{}', 'g', 's', 'm', '{}', now(), now());
        insert into event values ('job_1', 1, now(), 'run.submitted', null, 'null'),
            ('job_1', 2, now(), 'step.claimed', 'a[0]', 'null'),
            ('job_2', 1, now(), 'run.submitted', null, 'null');
        insert into session values ('w', 'host', now(), now() + interval '1 hour');
        insert into step (run, node, item, position, activity, status, input, fence, attempts, charged,
            losses, checkpoints, checkpoint_failures, session, warnings, round, progress, started_at)
        values ('job_1', 'a', 0, 0, 'x.y@1', 'running', '{"in":1}', 3, 2, 2, 1, 7, 0, 'w', '[]', 1, null, now()),
            ('job_1', 'a', 1, 0, 'x.y@1', 'ready', '{}', 0, 0, 0, 0, 0, 0, null, '[]', 1, null, null);
        insert into ready values ('job_1', 0, 1, 'a', 'x.y@1');
        insert into attempt (run, node, item, n, round, outcome, worker, started_at, ended_at)
        values ('job_1', 'a', 0, 1, 1, 'lost', 'v', now(), now()),
            ('job_1', 'a', 0, 2, 1, null, 'w', now(), null);
        insert into checkpoint values ('job_1', 'a', 0, 7, 2, '[1]', 0, 6, 'c', now());
        insert into checkpoint_growth values ('job_1', 'a', 0, 8, '[2]');
        insert into artifact (run, node, item, key, size, sha256, media_type, from_checkpoint)
        values ('job_1', 'a', 0, 'k', 10, 'sha', 'video/mp4', false),
            ('job_1', 'a', 0, 'c', 10, 'sha', 'video/mp4', true)"#;

    /// A database with that in it, brought up to date.
    async fn of_an_older_release() -> (PostgresSchema, PostgresStore) {
        let place = PostgresSchema::create().await;
        let mut connection = connect(&options(place.url()).unwrap()).await.unwrap();
        migrator(&MIGRATIONS[..3])
            .run_direct(None, &mut connection, false)
            .await
            .unwrap();
        sqlx::raw_sql(BEFORE_QUEUES)
            .execute(&mut connection)
            .await
            .unwrap();
        let store = PostgresStore::open(place.url()).await.unwrap();
        (place, store)
    }

    #[tokio::test]
    async fn a_database_of_an_older_schema_keeps_its_jobs_and_what_belongs_to_them() {
        let (_place, store) = of_an_older_release().await;
        let job = RunId::from("job_1".to_owned());
        let snapshot = store.snapshot(&job).await.unwrap();
        let [running, ready] = snapshot.steps.as_slice() else {
            panic!("two steps: {snapshot:#?}")
        };
        let step = &running.step;
        assert_eq!((step.status, step.fence), (StepStatus::Running, 3));
        let session = step
            .running
            .as_ref()
            .map(|running| running.session.as_str());
        assert_eq!(session, Some("w"));
        let attempts = running.attempts.iter().map(|it| (it.n, it.outcome));
        let lost = Some(AttemptOutcome::Lost);
        assert_eq!(attempts.collect::<Vec<_>>(), [(1, lost), (2, None)]);
        let keys: Vec<_> = running.artifacts.iter().map(|it| &*it.key).collect();
        assert_eq!(keys, ["k", "c"]);
        assert_eq!(ready.step.status, StepStatus::Ready);
    }

    #[tokio::test]
    async fn jobs_of_an_older_schema_are_found_told_of_and_claimed() {
        let (place, store) = of_an_older_release().await;
        let job = RunId::from("job_1".to_owned());
        let label = Some(("team".to_owned(), "news".to_owned()));
        let hash = Some("blake3:1".to_owned());
        let failed = Some(RunStatus::Failed);
        for (filter, found) in [
            (
                RunFilter {
                    label,
                    limit: 9,
                    ..RunFilter::default()
                },
                "job_1",
            ),
            (
                RunFilter {
                    hash,
                    limit: 9,
                    ..RunFilter::default()
                },
                "job_1",
            ),
            (
                RunFilter {
                    status: failed,
                    limit: 9,
                    ..RunFilter::default()
                },
                "job_2",
            ),
        ] {
            let page = store.list_runs(&filter).await.unwrap();
            let ids: Vec<_> = page.runs.iter().map(|run| run.id.as_str()).collect();
            assert_eq!(ids, [found], "{filter:?}");
        }
        let told = store.feed(FeedPlace::default(), 9).await.unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|it| (it.run.as_str(), it.recorded.seq))
            .collect();
        assert_eq!(told, [("job_1", 1), ("job_1", 2), ("job_2", 1)]);
        let mut connection = connect(&options(place.url()).unwrap()).await.unwrap();
        let waiting = claim::waiting(&mut connection, None, 9).await.unwrap();
        let [waits] = waiting.as_slice() else {
            panic!("one step: {waiting:?}")
        };
        assert_eq!((&waits.run, waits.step.item), (&job, Some(1)));
        let ticket = &waits.ticket;
        assert_eq!((ticket.kind.queue, ticket.rank), (Queue::Default, 600_000));
    }
}
