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
    let done = migrator().run_direct(None, &mut connection, false).await;
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
    match connecting {
        Ok(connected) => Ok(connected?),
        Err(_) => {
            Err(StoreError::Unreachable(format!("{} does not answer", options.get_host())).into())
        }
    }
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

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
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

    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::connect::options;

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
}
