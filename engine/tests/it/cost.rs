//! What workflows cost on the disk, as the databases count it: those figures of `./x bench engine` that do
//! not depend on the machine, with bounds that break when workflows no longer share transactions.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use telecine_engine::coordinator::Submission;
use telecine_engine::definition::{Definition, validate};
use telecine_engine::queue::Machine;
use telecine_engine::run::StoreUrls;
use telecine_testkit::servers::PostgresCounters;

use crate::stage::{Home, Stage};

const WORKFLOWS: usize = 320;
const IN_FLIGHT: usize = 64;
/// No test waits longer for connections to end.
const PATIENCE: Duration = Duration::from_secs(20);

const CHAIN: &str = "
workflow: test:chain
version: 1
input: {type: object, properties: {n: {type: integer}}}
steps:
  a: {activity: test.act@1, with: {what: succeed, value: '${{ input.n }}'}}
  b: {activity: test.act@1, with: {what: succeed, value: '${{ steps.a.output }}'}}
  c: {activity: test.act@1, with: {what: succeed, value: '${{ steps.b.output }}'}}
output: {}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_in_flight_share_commits_syncs_and_log_on_postgres() {
    let home = Home::quiet_postgres().await;
    // Whoever is first brings the schema up to date.
    drop(Stage::on(home.clone()).await);
    let before = counters_alone(&home).await;
    run_workflows(Stage::on(home.clone()).await).await;
    let cost = counters_alone(&home).await.since(&before);
    let per = |count: u64| count as f64 / WORKFLOWS as f64;
    let (commits, syncs, wal_bytes) = (per(cost.commits), per(cost.syncs), per(cost.wal_bytes));
    // Measured: 0.5 (with start and end of the process), 0.15 and 10,100; each event as a row of its own,
    // 12,300, and on a busy machine 13,300. With one request in each transaction: 6.3 and 4.9.
    println!("each: {commits:.2} commits, {syncs:.2} syncs, {wal_bytes:.0} bytes of log");
    assert!(commits < 0.8, "{commits} commits");
    assert!(syncs < 0.3, "{syncs} syncs");
    assert!(wal_bytes < 12_500.0, "{wal_bytes} bytes of log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_in_flight_share_commits_and_log_on_sqlite() {
    let home = Home::sqlite().await;
    let stage = Stage::on(home.clone()).await;
    let log = Log::keep(stage.directory()).await;
    let before = log.read();
    run_workflows(stage).await;
    let after = log.read();
    let per = |count: u64| count as f64 / WORKFLOWS as f64;
    let (commits, bytes) = (
        per(after.commits - before.commits),
        per(after.bytes - before.bytes),
    );
    // Measured: 0.15 and 16,300 to 17,200, because two are under way and each has half. With one request in
    // each transaction: 4.0 and 61,600.
    println!("each: {commits:.2} commits, {bytes:.0} bytes of log");
    assert!(commits < 0.3, "{commits} commits");
    assert!(bytes < 22_000.0, "{bytes} bytes of log");
}

/// Runs workflows of three steps, so many at a time, and stops.
async fn run_workflows(stage: Stage) {
    let running = stage.work_on(Machine::with_slots(IN_FLIGHT)).await;
    let definition = chain(&stage);
    let mut stopped = stage.parts.committer.stopped();
    let mut ended = HashSet::new();
    for n in 0..WORKFLOWS + IN_FLIGHT {
        if n >= IN_FLIGHT {
            ended.insert(stopped.recv().await.unwrap());
        }
        if n < WORKFLOWS {
            let (coordinator, submission) = (stage.coordinator.clone(), submission(&definition, n));
            tokio::spawn(async move { coordinator.submit(submission).await.unwrap() });
        }
    }
    assert_eq!(ended.len(), WORKFLOWS);
    running.stop().await;
}

/// A workflow of three steps.
pub(crate) fn chain(stage: &Stage) -> Arc<Definition> {
    let definition = validate(CHAIN, stage.parts.registry.as_ref());
    Arc::new(definition.unwrap_or_else(|errors| panic!("{errors:?}")))
}

/// A new run of it; each number is an input of its own.
pub(crate) fn submission(definition: &Arc<Definition>, n: usize) -> Submission {
    Submission {
        definition: definition.clone(),
        input: serde_json::json!({"n": n}),
        stores: StoreUrls {
            source: "file:///".to_owned(),
            media: "file:///".to_owned(),
        },
        queue: None,
        priority: 0,
        labels: Default::default(),
        force: true,
    }
}

/// What the server has counted when nobody is connected any more: connections tell it at their end.
async fn counters_alone(home: &Home) -> PostgresCounters {
    let others = "select count(*)::text from pg_stat_activity \
                  where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let began = Instant::now();
    while home.schema().text(others).await.as_deref() != Some("0") {
        assert!(began.elapsed() < PATIENCE, "there still are connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    PostgresCounters::read(home.schema().url()).await
}

/// The write-ahead log of a SQLite database. It does not begin anew while a reader is at its beginning.
struct Log {
    file: PathBuf,
    _reader: SqliteConnection,
}

/// What a log holds.
struct Written {
    commits: u64,
    bytes: u64,
}

impl Log {
    async fn keep(directory: &Path) -> Self {
        let database = directory.join("telecine.db");
        let options = SqliteConnectOptions::new()
            .filename(&database)
            .read_only(true);
        let mut reader = SqliteConnection::connect_with(&options).await.unwrap();
        let look = "begin; select count(*) from run";
        sqlx::raw_sql(look).execute(&mut reader).await.unwrap();
        Self {
            file: directory.join("telecine.db-wal"),
            _reader: reader,
        }
    }

    /// A header of 32 bytes, then pages with 24 bytes before each. These say how large the database is, in
    /// the last page of a transaction alone, and repeat two numbers of the header, which those of an earlier
    /// log do not.
    fn read(&self) -> Written {
        let log = std::fs::read(&self.file).unwrap();
        let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
        let frame_bytes = 24 + number(8) as usize;
        let frames = (32..log.len()).step_by(frame_bytes);
        let frames: Vec<usize> = frames
            .take_while(|at| at + frame_bytes <= log.len() && log[at + 8..at + 16] == log[16..24])
            .collect();
        Written {
            commits: frames.iter().filter(|at| number(*at + 4) > 0).count() as u64,
            bytes: (frames.len() * frame_bytes) as u64,
        }
    }
}
