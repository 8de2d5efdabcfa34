//! The SQLite store: the suite of every store, and what only a database in a file can get wrong.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use telecine_engine::id::SessionId;
use telecine_engine::store::{Life, Store, StoreError};
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::conformance::store::StoreFactory;

mod conformance {
    telecine_testkit::store_conformance!(crate::empty());
}

/// A data directory that goes when the case is over.
#[derive(Debug)]
struct DataDirectory(tempfile::TempDir);

async fn empty() -> DataDirectory {
    DataDirectory(tempfile::tempdir().expect("a directory"))
}

#[async_trait::async_trait]
impl StoreFactory for DataDirectory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(
            SqliteStore::open(self.0.path())
                .await
                .expect("the store opens"),
        )
    }
}

const LEASE: Duration = Duration::from_secs(600);
/// Longer than anything here takes that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_change_counter_rests_while_nobody_commits() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path()).await.unwrap();
    let before = store.change_counter().await.unwrap();
    assert_eq!(store.change_counter().await.unwrap(), before);
}

/// A transaction may take longer than a lease: opening a fan-out of 100,000 steps, or a slow disk.
#[tokio::test]
async fn a_busy_writer_does_not_let_its_session_die() {
    let home = tempfile::tempdir().unwrap();
    let (mine, theirs) = (
        SqliteStore::open(home.path()).await.unwrap(),
        SqliteStore::open(home.path()).await.unwrap(),
    );
    let session = SessionId::generate();
    mine.open_session(&session, "busy", Duration::ZERO)
        .await
        .unwrap();
    let _transaction = mine.begin().await.unwrap();
    let renewed = tokio::time::timeout(PATIENCE, mine.renew_session(&session, LEASE)).await;
    assert!(renewed.expect("renewing waits for nobody").unwrap());
    let others = theirs.other_sessions(&SessionId::generate()).await.unwrap();
    assert_eq!(others.len(), 1);
    assert!(matches!(others[0].1, Life::Leased(_)), "{others:?}");
}

#[tokio::test]
async fn stores_that_open_a_new_directory_at_once_all_work() {
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let path = home.path().to_owned();
            opening.spawn(async move {
                let store = SqliteStore::open(&path).await.unwrap();
                store
                    .open_session(&SessionId::generate(), "one of many", LEASE)
                    .await
                    .unwrap();
                store
            });
        }
        let stores = opening.join_all().await;
        let others = stores[0]
            .other_sessions(&SessionId::generate())
            .await
            .unwrap();
        assert_eq!(others.len(), 8);
        assert!(
            others
                .iter()
                .all(|(_, life)| matches!(life, Life::Leased(_)))
        );
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let error = SqliteStore::open(Path::new("/dev/null/data"))
        .await
        .unwrap_err();
    let StoreError::Unavailable(why) = error else {
        panic!("{error:?}")
    };
    assert!(
        why.contains("cannot make the directory /dev/null/data"),
        "{why}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("telecine.db");
    let text = "not a database, but somebody's notes\n".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let error = SqliteStore::open(home.path()).await.unwrap_err();
    let StoreError::Incompatible(why) = error else {
        panic!("{error:?}")
    };
    assert!(why.contains(&file.display().to_string()), "{why}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_lock_file_that_is_missing_proves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path()).await.unwrap();
    let id = SessionId::generate();
    store.open_session(&id, "alive", LEASE).await.unwrap();
    std::fs::remove_file(home.path().join(format!("sessions/{id}.lock"))).unwrap();
    let others = store.other_sessions(&SessionId::generate()).await.unwrap();
    assert!(matches!(others[0].1, Life::Leased(_)));
}

#[tokio::test]
async fn the_lock_file_goes_with_its_session() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path()).await.unwrap();
    let id = SessionId::generate();
    store.open_session(&id, "short", LEASE).await.unwrap();
    let files = || {
        std::fs::read_dir(home.path().join("sessions"))
            .unwrap()
            .count()
    };
    assert_eq!(files(), 1);
    let mut tx = store.begin().await.unwrap();
    tx.end_session(&id).await.unwrap();
    drop(tx);
    // The transaction did not happen, so the session lives.
    assert_eq!(files(), 1);
    let mut tx = store.begin().await.unwrap();
    tx.end_session(&id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(files(), 0);
}

/// What the process of the next test is told by.
const DIRECTORY: &str = "TELECINE_TEST_DATA_DIRECTORY";

#[tokio::test]
async fn a_killed_process_is_dead_at_once() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path()).await.unwrap();
    let mut holder = hold_a_session(home.path());
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    // The first lines are the test runner's.
    let survivor = lines.find_map(|line| line.unwrap().strip_prefix("child ").map(str::to_owned));
    let nobody = SessionId::generate();
    let alive = store.other_sessions(&nobody).await.unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let killed = store.other_sessions(&nobody).await.unwrap();
    // Its own child lives on, and must not have inherited the lock.
    let survivor = rustix::process::Pid::from_raw(survivor.unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(survivor, rustix::process::Signal::KILL).unwrap();
    let names = |others: &[(telecine_engine::store::Session, Life)]| -> Vec<(String, bool)> {
        others
            .iter()
            .map(|(session, life)| (session.name.clone(), *life == Life::Gone))
            .collect()
    };
    assert_eq!(names(&alive), [("holder".to_owned(), false)]);
    assert_eq!(names(&killed), [("holder".to_owned(), true)]);
}

/// Another process of this test program, which runs the test below alone.
fn hold_a_session(directory: &Path) -> Child {
    let program = std::env::current_exe().expect("the test program");
    Command::new(program)
        .args([
            "--exact",
            "a_session_is_held_until_the_process_is_killed",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program runs")
}

/// The other half of the test above; by itself it holds nothing.
#[tokio::test]
async fn a_session_is_held_until_the_process_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = SqliteStore::open(Path::new(&directory)).await.unwrap();
    store
        .open_session(&SessionId::generate(), "holder", LEASE)
        .await
        .unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    println!("\nchild {}", child.id());
    child.wait().unwrap();
}
