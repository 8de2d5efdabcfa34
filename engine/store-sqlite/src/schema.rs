//! The schema, brought up to date when a database is opened.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate as _, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use telecine_engine::store::StoreError;

use crate::error::Error;

/// What the first migration sets as `application_id`.
const APPLICATION_ID: i64 = 1_952_673_381;

/// What the migrations add up to.
const SCHEMA: &str = include_str!("../../../migrations/sqlite/schema.sql");

/// The migrations, oldest first: number, what it does, statements. Never change one that was
/// released; add the next.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "init",
        include_str!("../../../migrations/sqlite/0001_init.sql"),
    ),
    (
        2,
        "attempts outlive steps",
        include_str!("../../../migrations/sqlite/0002_attempts_outlive_steps.sql"),
    ),
    (
        3,
        "narrow steps",
        include_str!("../../../migrations/sqlite/0003_narrow_steps.sql"),
    ),
    (
        4,
        "checkpoint growth",
        include_str!("../../../migrations/sqlite/0004_checkpoint_growth.sql"),
    ),
    (
        5,
        "request keys",
        include_str!("../../../migrations/sqlite/0005_request_keys.sql"),
    ),
    (
        6,
        "queues",
        include_str!("../../../migrations/sqlite/0006_queues.sql"),
    ),
    (
        7,
        "offers",
        include_str!("../../../migrations/sqlite/0007_offers.sql"),
    ),
    (
        8,
        "run tags",
        include_str!("../../../migrations/sqlite/0008_run_tags.sql"),
    ),
    (
        9,
        "feed",
        include_str!("../../../migrations/sqlite/0009_feed.sql"),
    ),
    (
        10,
        "plan head",
        include_str!("../../../migrations/sqlite/0010_plan_head.sql"),
    ),
    (
        11,
        "graph in run",
        include_str!("../../../migrations/sqlite/0011_graph_in_run.sql"),
    ),
    (
        12,
        "amendments",
        include_str!("../../../migrations/sqlite/0012_amendments.sql"),
    ),
    (
        13,
        "reuse",
        include_str!("../../../migrations/sqlite/0013_reuse.sql"),
    ),
    (
        14,
        "processors",
        include_str!("../../../migrations/sqlite/0014_processors.sql"),
    ),
    (
        15,
        "published_by",
        include_str!("../../../migrations/sqlite/0015_published_by.sql"),
    ),
    (
        16,
        "swept",
        include_str!("../../../migrations/sqlite/0016_swept.sql"),
    ),
    (
        17,
        "retention",
        include_str!("../../../migrations/sqlite/0017_retention.sql"),
    ),
    (
        18,
        "outages",
        include_str!("../../../migrations/sqlite/0018_outages.sql"),
    ),
    (
        19,
        "etag",
        include_str!("../../../migrations/sqlite/0019_etag.sql"),
    ),
    (
        20,
        "unproved",
        include_str!("../../../migrations/sqlite/0020_unproved.sql"),
    ),
    (
        21,
        "earlier_events",
        include_str!("../../../migrations/sqlite/0021_earlier_events.sql"),
    ),
    (
        22,
        "attempts_once",
        include_str!("../../../migrations/sqlite/0022_attempts_once.sql"),
    ),
];

/// Checks that a database is ours and applies what is missing. One transaction that holds the write
/// lock from its beginning: of two processes that open a new database at once, one waits and finds
/// it done.
pub(crate) async fn bring_up_to_date(database: &SqlitePool) -> Result<(), Error> {
    let mut transaction = database.begin_with("begin immediate").await?;
    if check_ownership(&mut transaction).await? == Ownership::Nobody {
        make(&mut transaction).await?;
    }
    migrator(MIGRATIONS)
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(refused)?;
    give_tickets(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

/// The number of the schema, if it is one that only a newer release knows.
pub(crate) async fn newer(connection: &mut SqliteConnection) -> Result<Option<i64>, Error> {
    let known = MIGRATIONS.last().map_or(0, |(number, ..)| *number);
    let newest: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(connection)
            .await?;
    Ok(newest.filter(|newest| *newest > known))
}

/// Lets steps be found that a process of an older release has made ready since the schema was brought up
/// to date.
pub(crate) async fn give_tickets(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query(include_str!("sql/give_tickets.sql"))
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes all tables of a new database as they are now: migrations that make tables anew would write more for
/// them than a short job does for itself.
async fn make(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::raw_sql(SCHEMA).execute(&mut *connection).await?;
    let ours = format!("pragma application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(ours))
        .execute(&mut *connection)
        .await?;
    let migrator = migrator(MIGRATIONS);
    let table = migrator.table_name.as_ref();
    let noted = connection.ensure_migrations_table(table).await;
    noted.map_err(refused)?;
    for migration in migrator.iter() {
        let noted = connection.skip(table, migration).await;
        noted.map_err(refused)?;
    }
    Ok(())
}

/// Whose a database is.
#[derive(Debug, PartialEq, Eq)]
enum Ownership {
    /// It is empty.
    Nobody,
    Ours,
}

/// An empty database will be ours; any other says whose it is.
async fn check_ownership(connection: &mut SqliteConnection) -> Result<Ownership, Error> {
    let application: i64 = sqlx::query_scalar("pragma application_id")
        .fetch_one(&mut *connection)
        .await?;
    let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema")
        .fetch_one(connection)
        .await?;
    match (application, tables) {
        (APPLICATION_ID, _) => Ok(Ownership::Ours),
        (0, 0) => Ok(Ownership::Nobody),
        _ => Err(StoreError::Incompatible("it belongs to another program".to_owned()).into()),
    }
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

    use sqlx::sqlite::SqlitePoolOptions;
    use telecine_engine::queue::{PRIORITY_POINT_MS, Queue};
    use telecine_engine::run::Node;

    use super::*;
    use crate::claim;

    async fn in_memory() -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(1)
            .connect("sqlite::memory:")
            .await
            .unwrap()
    }

    /// A database that had no table before the first migration.
    async fn migrated() -> SqlitePool {
        let database = in_memory().await;
        let mut connection = database.acquire().await.unwrap();
        migrator(MIGRATIONS)
            .run_direct(None, &mut *connection, false)
            .await
            .unwrap();
        drop(connection);
        database
    }

    async fn schema(database: &SqlitePool) -> Vec<String> {
        let schema = sqlx::query_scalar(
            "select sql || ';' from sqlite_schema \
             where sql is not null and name not like '\\_sqlx%' escape '\\' order by tbl_name, rowid",
        );
        schema.fetch_all(database).await.unwrap()
    }

    /// With its settings and its notes of migrations, and without a row anywhere else.
    #[tokio::test]
    async fn a_new_database_is_what_the_migrations_make() {
        let (made, migrated) = (in_memory().await, migrated().await);
        bring_up_to_date(&made).await.unwrap();
        assert_eq!(schema(&made).await, schema(&migrated).await);
        let notes = "select json_array(version, description, success, hex(checksum), \
                     (select application_id from pragma_application_id)) from _sqlx_migrations order by version";
        let notes = async |of: &SqlitePool| -> Vec<String> {
            let notes = sqlx::query_scalar(notes);
            notes.fetch_all(of).await.unwrap()
        };
        assert_eq!(notes(&made).await, notes(&migrated).await);
        for table in schema(&migrated).await {
            let Some(name) = table.strip_prefix("CREATE TABLE ") else {
                continue;
            };
            let name = name.split(['(', ' ']).next().unwrap();
            let rows = sqlx::AssertSqlSafe(format!("select count(*) from {name}"));
            let rows: i64 = sqlx::query_scalar(rows).fetch_one(&migrated).await.unwrap();
            assert_eq!(rows, 0, "{name} has rows from the beginning");
        }
    }

    #[tokio::test]
    async fn the_dumped_schema_is_what_the_migrations_make() {
        let made = schema(&migrated().await).await;
        let made = format!(
            "-- What the migrations add up to. Made by a test: TELECINE_UPDATE_SCHEMA=1 cargo test \
             -p telecine-store-sqlite schema\n\n{}\n",
            made.join("\n\n")
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite/schema.sql");
        if std::env::var_os("TELECINE_UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made);
    }

    #[tokio::test]
    async fn bringing_a_database_up_to_date_again_changes_nothing() {
        let database = in_memory().await;
        bring_up_to_date(&database).await.unwrap();
        let before: i64 = version(&database).await;
        bring_up_to_date(&database).await.unwrap();
        assert_eq!(version(&database).await, before);
    }

    /// What was there before the third migration, with something in each table that it makes anew.
    const BEFORE_NARROW_STEPS: &str = "
        insert into definition values ('d', 'n', 1, '{}', 0);
        insert into run values ('r', 'n', 1, 'd', 'running', 1, 1, '{}', 'f', 's', 'm', '{}', null,
            null, 0, 0, null);
        insert into node values ('r', 'a', 1, 'ready', 2, 0, 0, 0, null),
            ('r', 'b', 0, 'pending', 1, 0, 0, 0, null);
        insert into event values ('r', 1, 0, 'run.started', null, 'null'),
            ('r', 2, 0, 'step.ready', 'a', 'null');
        insert into session values ('w', 'host', 0, 1);
        insert into step (run, node, item, position, activity, status, input, fence, attempts,
            charged, losses, checkpoints, checkpoint_failures, session, progress, warnings, round)
        values ('r', 'a', 0, 0, 'x@1', 'running', '{\"in\":1}', 3, 2, 2, 1, 7, 0, 'w', '{\"p\":1}',
            '[]', 1), ('r', 'a', 1, 0, 'x@1', 'pending', null, 0, 0, 0, 0, 0, 0, null, null, '[]', 1);
        insert into checkpoint values ('r', 'a', 0, 7, 2, '[1]', 0.0, 6.0, 'c', 5);
        insert into artifact values (4, 'r', 'a', 0, 'k', 10, 'sha', 'video/mp4', 0),
            (5, 'r', 'a', 0, 'z', 10, 'sha', 'video/mp4', 1),
            (6, 'r', 'a', 0, 'm', 10, 'sha', 'video/mp4', 1);";

    #[tokio::test]
    async fn a_database_of_an_older_schema_keeps_its_steps_and_what_belongs_to_them() {
        let database = in_memory().await;
        let mut connection = database.acquire().await.unwrap();
        migrator(&MIGRATIONS[..2])
            .run_direct(None, &mut *connection, false)
            .await
            .unwrap();
        sqlx::raw_sql(BEFORE_NARROW_STEPS)
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);
        bring_up_to_date(&database).await.unwrap();
        let kept: Vec<String> = sqlx::query_scalar(
            "select json_array(s.item, s.status, s.fence, s.checkpoints, i.value, p.value, c.seq, \
             c.value, a.id, a.key, o.objects ->> '$[0].key', o.objects ->> '$[1].key') \
             from step as s \
             left join step_input as i using (run, node, item) \
             left join step_progress as p using (run, node, item) \
             left join checkpoint as c using (run, node, item) \
             left join checkpoint_objects as o using (run, node, item) \
             left join artifact as a using (run, node, item) order by s.item",
        )
        .fetch_all(&database)
        .await
        .unwrap();
        let first =
            r#"[0,"running",3,7,"{\"in\":1}","{\"p\":1}",7,"[1]",4,"k","z","m"]"#.to_owned();
        let second = r#"[1,"pending",0,0,null,null,null,null,null,null,null,null]"#.to_owned();
        assert_eq!(kept, [first, second]);
        let run: (String, i64) = sqlx::query_as("select nodes, events from run")
            .fetch_one(&database)
            .await
            .unwrap();
        let nodes: Vec<Node> = serde_json::from_str(&run.0).unwrap();
        let names: Vec<_> = nodes.iter().map(|node| (&*node.name, node.total)).collect();
        assert_eq!((names, run.1), (vec![("b", Some(1)), ("a", Some(2))], 2));
        let broken = sqlx::query("pragma foreign_key_check").fetch_all(&database);
        assert!(broken.await.unwrap().is_empty());
    }

    /// Three ready steps: one that an older release wrote while this one was at work, one of this release,
    /// and one of a release that tells steps apart by another word.
    const OF_THREE_RELEASES: &str = "
        insert into definition values ('d', 'n', 1, '{}', 0);
        insert into run (id, workflow, version, definition, status, round, revision, input,
            fingerprint, source_store, media_store, labels, created_at, queue, priority)
        values ('r', 'n', 1, 'd', 'running', 1, 1, '{}', 'f', 's', 'm', '{}', 600000, 'critical', 2);
        insert into step (run, node, item, position, activity, status, fence, attempts, charged,
            losses, checkpoint_failures, warnings, round, kind, rank)
        values ('r', 'a', 0, 0, 'x.y@1', 'ready', 0, 0, 0, 0, 0, '[]', 1, null, null),
            ('r', 'a', 1, 0, 'x.y@1', 'ready', 0, 0, 0, 0, 0, '[]', 1, 'default x.y@1 1 0 0 none', 7),
            ('r', 'a', 2, 0, 'x.y@1', 'ready', 0, 0, 0, 0, 0, '[]', 1, 'default x.y@1 1 0 0 none hot', 7);";

    /// Item, queue and rank of what waits.
    async fn waiting(database: &SqlitePool) -> Vec<(Option<u32>, Queue, i64)> {
        let mut connection = database.acquire().await.unwrap();
        let waiting = claim::waiting(&mut connection, None, 4).await.unwrap();
        let told = waiting.into_iter().map(|it| {
            let ticket = it.ticket;
            (it.step.item, ticket.kind.queue, ticket.rank)
        });
        told.collect()
    }

    #[tokio::test]
    async fn steps_of_an_older_release_wait_with_others_and_those_of_a_newer_one_are_left_to_it() {
        let database = in_memory().await;
        bring_up_to_date(&database).await.unwrap();
        sqlx::raw_sql(OF_THREE_RELEASES)
            .execute(&database)
            .await
            .unwrap();
        let mine = (Some(1), Queue::Default, 7);
        assert_eq!(waiting(&database).await, [mine]);
        bring_up_to_date(&database).await.unwrap();
        let older = (Some(0), Queue::Critical, 600_000 - 2 * PRIORITY_POINT_MS);
        assert_eq!(waiting(&database).await, [older, mine]);
        let mut connection = database.acquire().await.unwrap();
        let counts = claim::count_waiting(&mut connection).await.unwrap();
        assert_eq!(counts.iter().map(|(_, steps)| steps).sum::<u64>(), 2);
    }

    async fn version(database: &SqlitePool) -> i64 {
        sqlx::query_scalar("pragma schema_version")
            .fetch_one(database)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_database_of_a_newer_schema_is_refused() {
        let database = in_memory().await;
        bring_up_to_date(&database).await.unwrap();
        let known = newer(&mut database.acquire().await.unwrap()).await;
        assert_eq!(known.unwrap(), None);
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
             values (9999, 'from the future', true, x'00', 0)",
        )
        .execute(&database)
        .await
        .unwrap();
        let newest = newer(&mut database.acquire().await.unwrap()).await;
        assert_eq!(newest.unwrap(), Some(9999));
        let error = StoreError::from(bring_up_to_date(&database).await.unwrap_err());
        assert!(
            matches!(&error, StoreError::Incompatible(why) if why.contains("newer")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_database_of_another_program_is_refused_untouched() {
        let database = in_memory().await;
        sqlx::query("create table theirs (x)")
            .execute(&database)
            .await
            .unwrap();
        let error = StoreError::from(bring_up_to_date(&database).await.unwrap_err());
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema")
            .fetch_one(&database)
            .await
            .unwrap();
        assert_eq!(tables, 1);
    }
}
