//! What a workflow costs on an empty database, and on one with a million finished runs.
//!
//! A thousand runs are run, and then all that is stored of them is copied a thousand times by the database
//! itself. Each copy differs in the last letters of its id, so that copies are spread over the indexes as
//! runs of those times would be. `TELECINE_BENCH_HISTORY` is the number of runs.

use std::collections::BTreeMap;
use std::time::Instant;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::figures::{Bound, Cost, Due, number, print_table};
use crate::place::{Kind, Place};
use crate::process;
use crate::roles::Role;
use crate::server::Server;
use crate::subject::{Load, Subject};

const RUNS: usize = 1_000_000;
/// Letters of ids; a copy has two of its own.
const LETTERS: &str = "0123456789abcdefghjkmnpqrstvwxyz";
const COPIES: usize = 32 * 32;
const LOAD: Load = Load {
    workflows: 3_000,
    in_flight: 64,
    seconds: 20,
    pause_ms: 0,
};
const WARM_UP: Load = Load {
    workflows: 500,
    ..LOAD
};

/// Tables and their columns, but for those that the database numbers.
const POSTGRES_COLUMNS: &str = "select table_name::text, column_name::text from information_schema.columns \
     where table_schema = 'public' and is_identity = 'NO'";
const SQLITE_COLUMNS: &str = "select entry.name, columns.name from sqlite_schema as entry, \
     pragma_table_info(entry.name) as columns where entry.type = 'table' \
     and not (columns.pk = 1 and lower(columns.type) = 'integer' \
     and 1 = (select count(*) from pragma_table_info(entry.name) where pk > 0))";

/// Measures an empty and a full database in turn, on each store.
pub(crate) async fn measure(server: Option<&Server>, rounds: usize) -> Vec<Due> {
    let runs = crate::number_named("TELECINE_BENCH_HISTORY").unwrap_or(RUNS);
    let mut rows = Vec::new();
    let mut dues = Vec::new();
    for kind in Kind::ALL {
        match compare(kind, server, (runs, rounds)).await {
            Ok([empty, full]) => {
                for (runs, cost) in [(0, &empty), (runs, &full)] {
                    rows.push(row(kind, runs, cost));
                }
                let ratio = full.cpu_ms / empty.cpu_ms;
                dues.push(Due {
                    what: format!(
                        "{}: CPU of a workflow beside {runs} finished runs, over none",
                        kind.title()
                    ),
                    measured: ratio,
                    due: Bound::AtMost(1.1),
                });
            }
            Err(trouble) => rows.push(vec![kind.title().to_owned(), trouble]),
        }
    }
    print_table(
        &[
            "64 in flight",
            "finished runs",
            "workflows/s",
            "CPU ms",
            "syncs",
            "log, bytes",
            "load",
        ],
        &rows,
    );
    dues
}

fn row(kind: Kind, runs: usize, cost: &Cost) -> Vec<String> {
    let counted = cost
        .counted
        .map(|counted| [counted.syncs, counted.wal_bytes].map(number));
    let [syncs, wal_bytes] = counted.unwrap_or_default();
    vec![
        kind.title().to_owned(),
        runs.to_string(),
        number(cost.per_second),
        number(cost.cpu_ms),
        syncs,
        wal_bytes,
        process::load(),
    ]
}

async fn compare(
    kind: Kind,
    server: Option<&Server>,
    (runs, rounds): (usize, usize),
) -> Result<[Cost; 2], String> {
    let empty = Place::new(kind, server).await?;
    let full = Place::new(kind, server).await?;
    fill(&full, runs).await?;
    let costs = in_turn([&empty, &full], rounds).await;
    empty.clear().await;
    full.clear().await;
    costs
}

async fn in_turn(places: [&Place; 2], rounds: usize) -> Result<[Cost; 2], String> {
    let mut subjects = Vec::new();
    for place in places {
        let mut subject = Subject::start(Role::Chain.command(place.address())).await?;
        subject.run(WARM_UP).await?;
        subjects.push((subject, place, Vec::new()));
    }
    for _ in 0..rounds {
        for (subject, place, costs) in &mut subjects {
            costs.push(Cost::measure(subject, place.server(), LOAD).await?);
        }
    }
    let costs: Vec<Cost> = subjects
        .iter()
        .map(|(_, _, costs)| Cost::median(costs))
        .collect();
    Ok([costs[0], costs[1]])
}

async fn fill(place: &Place, runs: usize) -> Result<(), String> {
    let began = Instant::now();
    let mut subject = Subject::start(Role::Chain.command(place.address())).await?;
    let workflows = runs.div_ceil(COPIES);
    subject.run(Load { workflows, ..LOAD }).await?;
    subject.stop().await?;
    match place {
        Place::Database(database) => copy_in_postgres(&database.url).await,
        Place::Directory(directory) => copy_in_sqlite(&directory.path().join("telecine.db")).await,
    }
    eprintln!(
        "{} runs were made in {} s",
        workflows * COPIES,
        began.elapsed().as_secs()
    );
    Ok(())
}

async fn copy_in_postgres(url: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    // What is copied is right already: what refers to what is not looked at again.
    let faster = "set synchronous_commit = off; set session_replication_role = replica";
    sqlx::raw_sql(faster).execute(&mut db).await.unwrap();
    let columns = sqlx::query_as(POSTGRES_COLUMNS).fetch_all(&mut db).await;
    for statement in copying(columns.unwrap()) {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut db)
            .await
            .unwrap();
    }
    for tidy in ["vacuum (analyze)", "checkpoint"] {
        sqlx::raw_sql(tidy).execute(&mut db).await.unwrap();
    }
}

async fn copy_in_sqlite(database: &std::path::Path) {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .foreign_keys(false)
        .synchronous(SqliteSynchronous::Off)
        .journal_mode(SqliteJournalMode::Off);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let columns = sqlx::query_as(SQLITE_COLUMNS).fetch_all(&mut db).await;
    for statement in copying(columns.unwrap()) {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut db)
            .await
            .unwrap();
    }
    let as_it_was = "pragma journal_mode = wal";
    sqlx::raw_sql(as_it_was).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// Statements that copy what belongs to runs, given all tables and their columns.
fn copying(columns: Vec<(String, String)>) -> Vec<String> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in columns {
        tables.entry(table).or_default().push(column);
    }
    let of_runs = |table: &str, columns: &[String]| {
        table == "run" || columns.iter().any(|name| name == "run")
    };
    let copies = tables
        .iter()
        .filter(|(table, columns)| of_runs(table, columns));
    let mut statements = vec![format!(
        "create temporary table copy (suffix text); insert into copy values {}",
        suffixes()
    )];
    statements.extend(copies.map(|(table, columns)| copying_of(table, columns)));
    statements
}

fn copying_of(table: &str, columns: &[String]) -> String {
    let id = if table == "run" { "id" } else { "run" };
    let value = |name: &String| match name.as_str() {
        "fingerprint" => "original.fingerprint || copy.suffix".to_owned(),
        name if name == id => {
            format!("substr(original.{id}, 1, length(original.{id}) - 2) || copy.suffix")
        }
        name => format!("original.{name}"),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    format!(
        "insert into {table} ({}) select {} from {table} as original cross join copy \
         where original.{id} not like '%' || copy.suffix",
        columns.join(", "),
        values.join(", ")
    )
}

fn suffixes() -> String {
    let letters = || LETTERS.chars();
    let all =
        letters().flat_map(|first| letters().map(move |second| format!("('{first}{second}')")));
    all.collect::<Vec<_>>().join(", ")
}
