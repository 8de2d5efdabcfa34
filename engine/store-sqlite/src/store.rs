use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite};
use telecine_engine::activity::{Progress, PublicationMove};
use telecine_engine::id::{PlanId, RunId, SessionId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::queue::{Capability, Kind, Waiting};
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{RecordedEvent, Run, Snapshot};
use telecine_engine::store::{
    DefinitionRecord, Due, FeedEvent, FeedPlace, Fence, Generation, Life, NewCheckpoint, Outline,
    PlanHead, Premises, RunFilter, RunPage, Session, Sharer, Store, StoreError, TakenKey,
    Transaction, Window,
};

use crate::error::{Error, in_directory};
use crate::locks::SessionLocks;
use crate::rows::{cells, count};
use crate::save::{Rows, Writing};
use crate::script::Script;
use crate::transaction::SqliteTransaction;
use crate::{
    claim, clock, directory, feed, keys, listing, outline, read, retention, reuse, schema, sessions,
};

/// Bytes of a page of a new database. A transaction writes each page that it touched as a whole, and
/// most touch ten: the job of a clip of 20 s writes 0.76 MB with pages of 1 KiB and 1.6 MB with the
/// usual 4 KiB. Opening and closing a fan-out of 100,000 steps costs the same CPU with both.
const PAGE_BYTES: u32 = 1024;

/// How long a process waits for another one's transaction. The longest (opening a fan-out of
/// 100,000 steps) takes a few seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon after a process has died its lock files are worth a look. A look is one read of a database on
/// this machine.
const PROOF: Duration = Duration::from_millis(500);
/// Connections that read beside the writer.
const READERS: u32 = 4;
/// Connections that read for visitors.
const VISITORS: u32 = 4;
/// How long a statement of a visitor may take, and how long one waits for a connection. Pages are read in
/// some 20 ms.
const VISIT: Duration = Duration::from_secs(5);
/// Instructions of SQLite's machine between two looks at the clock: a tenth of a millisecond.
const VISIT_STEPS: i32 = 10_000;
/// Pages of the write-ahead log after which they are copied into the database. Most transactions
/// write the same few pages again, so the longer the log, the fewer copies: these are 4 MiB, what
/// SQLite does by itself with pages of its usual size.
const WAL_PAGES: &str = "4096";
/// The write-ahead log is cut back to this when it was emptied, in bytes.
const WAL_BYTES: &str = "67108864";
/// Rows that a connection reads ahead of whoever takes them.
const ROWS_AHEAD: usize = 512;

/// The database of one data directory.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection: writers of this process queue here, and not at the file lock.
    writer: SqlitePool,
    /// One connection, used by whoever holds that of `writer`: what it commits outlives the process,
    /// and a loss of power only once something else was committed.
    unsynced: SqlitePool,
    readers: SqlitePool,
    /// One connection: `data_version` compares two looks of the same one.
    watcher: SqlitePool,
    /// One connection: beats of sessions read the database, and wait for nobody else here.
    beats: SqlitePool,
    locks: Arc<SessionLocks>,
    /// The data directory, for errors.
    directory: PathBuf,
    options: SqliteConnectOptions,
}

impl SqliteStore {
    /// Opens the database of a data directory; makes both if they are missing, and brings an older
    /// schema up to date. Several stores may be open on one directory, also in several processes.
    ///
    /// # Errors
    /// [`StoreError::Incompatible`] for a directory on a network file system, a database of a newer
    /// version, or a file that is no database of telecine; [`StoreError::Full`] if there is no
    /// room; [`StoreError::Unavailable`] if the directory cannot be made or written.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.to_owned();
        let (directory, opening) = tokio::task::spawn_blocking(move || {
            let directory = directory::prepare(&path)?;
            let opening = directory.lock()?;
            Ok::<_, StoreError>((directory, opening))
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))??;
        let options = options(&directory.database);
        let watcher = pool(1, &options);
        schema::bring_up_to_date(&watcher)
            .await
            .map_err(|error| name(error.into(), &directory.database))?;
        drop(opening);
        Ok(Self {
            writer: pool(1, &options),
            unsynced: pool(1, &options.clone().synchronous(SqliteSynchronous::Normal)),
            readers: pool(READERS, &options),
            beats: pool(1, &options),
            watcher,
            locks: Arc::new(SessionLocks::new(directory.sessions)),
            directory: dir.to_owned(),
            options,
        })
    }

    /// The same database for those who look at it from outside. What they read goes over a few connections
    /// of their own, where each visit is ended after five seconds: however many look, and at whatever,
    /// nothing waits for them but other visitors. What they write goes the way of all writes.
    #[must_use]
    pub fn for_visitors(&self) -> Self {
        Self {
            writer: self.writer.clone(),
            unsynced: self.unsynced.clone(),
            readers: visitors(&self.options),
            watcher: self.watcher.clone(),
            beats: self.beats.clone(),
            locks: self.locks.clone(),
            directory: self.directory.clone(),
            options: self.options.clone(),
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        Ok(self.readers.acquire().await?)
    }

    async fn begin_write(&self) -> Result<sqlx::Transaction<'static, Sqlite>, Error> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }

    /// Does something in a write transaction of its own.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let written = self.write_unnamed(work).await;
        written.map_err(|error| in_directory(error.into(), &self.directory))
    }

    /// As `write`, for what is of no use once the processes of the machine are gone. A sync would write
    /// the last page of the log, and with it four times as many bytes as are new.
    async fn write_unsynced<T>(
        &self,
        work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let written = async {
            let _turn = self.writer.acquire().await?;
            write_in(self.unsynced.begin_with("begin immediate").await?, work).await
        };
        let written: Result<T, Error> = written.await;
        written.map_err(|error| in_directory(error.into(), &self.directory))
    }

    async fn write_unnamed<T>(
        &self,
        work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        write_in(self.begin_write().await?, work).await
    }
}

async fn write_in<T>(
    mut transaction: sqlx::Transaction<'static, Sqlite>,
    work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut writing = Writing {
        connection: &mut transaction,
        now: clock::now(),
    };
    let done = work(&mut writing).await?;
    transaction.commit().await?;
    Ok(done)
}

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("journal_size_limit", WAL_BYTES)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// Connections whose statements are ended when their visit has taken too long.
fn visitors(options: &SqliteConnectOptions) -> SqlitePool {
    opened_lazily(VISITORS, VISIT)
        .after_connect(|connection, _| Box::pin(begin_visit(connection)))
        .before_acquire(|connection, _| {
            Box::pin(async {
                begin_visit(connection).await?;
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone())
}

async fn begin_visit(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let until = Instant::now() + VISIT;
    connection
        .lock_handle()
        .await?
        .set_progress_handler(VISIT_STEPS, move || Instant::now() < until);
    Ok(())
}

/// Connections are opened when they are first needed, and stay: each keeps its prepared statements.
fn pool(connections: u32, options: &SqliteConnectOptions) -> SqlitePool {
    opened_lazily(connections, BUSY_TIMEOUT).connect_lazy_with(options.clone())
}

fn opened_lazily(connections: u32, patience: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(is_clean(connection)))
}

/// Whether a connection can be used again. A full disk makes SQLite roll back by itself, which the
/// driver does not notice: it would take the connection for one inside a transaction for ever.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Waits for the rollback of a transaction that was dropped.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Says which file an error at opening is about.
fn name(error: StoreError, database: &Path) -> StoreError {
    let at = |why: String| format!("{}: {why}", database.display());
    match error {
        StoreError::Full(why) => StoreError::Full(at(why)),
        StoreError::Incompatible(why) => StoreError::Incompatible(at(why)),
        StoreError::Unavailable(why) => StoreError::Unavailable(at(why)),
        StoreError::Corrupt(why) => StoreError::Corrupt(at(why)),
        other => other,
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn save_definition(&self, definition: &DefinitionRecord) -> Result<(), StoreError> {
        self.write(async |writing| {
            sqlx::query(include_str!("sql/save_definition.sql"))
                .bind(&definition.digest)
                .bind(&definition.name)
                .bind(definition.version)
                .bind(&definition.canonical)
                .bind(writing.now.timestamp_millis())
                .execute(&mut *writing.connection)
                .await?;
            Ok(())
        })
        .await
    }

    async fn load_definition(&self, digest: &str) -> Result<Option<DefinitionRecord>, StoreError> {
        Ok(read::definition(&mut *self.reader().await?, digest).await?)
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        let begun = self.begin_write().await;
        let transaction = begun.map_err(|error| in_directory(error.into(), &self.directory))?;
        Ok(Box::new(SqliteTransaction::new(
            transaction,
            self.locks.clone(),
            self.directory.clone(),
        )))
    }

    /// What is to be written is made ready before the lock is taken, while another transaction has it.
    async fn save_if(
        &self,
        premises: &Premises,
        changes: Vec<(RunId, Changes)>,
    ) -> Result<DateTime<Utc>, StoreError> {
        let rows = Rows::of(&changes)?;
        let mut scripts = Script::of(rows.statements());
        let first = scripts.next();
        let begun = self.begin_write().await;
        let transaction = begun.map_err(|error| in_directory(error.into(), &self.directory))?;
        let mut transaction =
            SqliteTransaction::new(transaction, self.locks.clone(), self.directory.clone());
        premises.hold(&mut transaction).await?;
        for script in first.into_iter().chain(scripts) {
            transaction.run(script).await?;
        }
        let now = transaction.now().await?;
        Box::new(transaction).commit().await?;
        Ok(now)
    }

    /// One is made ready while the other is written.
    fn transactions_at_once(&self) -> usize {
        2
    }

    async fn waiting(&self, run: Option<&RunId>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        Ok(claim::waiting(&mut *self.reader().await?, run, limit).await?)
    }

    async fn count_waiting(&self) -> Result<Vec<(Kind, u64)>, StoreError> {
        Ok(claim::count_waiting(&mut *self.reader().await?).await?)
    }

    async fn set_deadline(&self, fence: &Fence, after: Duration) -> Result<(), StoreError> {
        self.write_unsynced(async |writing| writing.set_deadline(fence, after).await)
            .await
    }

    async fn save_progress(
        &self,
        progress: &[(Fence, Progress)],
    ) -> Result<Vec<Fence>, StoreError> {
        if progress.is_empty() {
            return Ok(Vec::new());
        }
        self.write_unsynced(async |writing| writing.progress(progress).await)
            .await
    }

    async fn save_checkpoint(
        &self,
        fence: &Fence,
        checkpoint: &NewCheckpoint,
    ) -> Result<u64, StoreError> {
        self.write(async |writing| writing.checkpoint(fence, checkpoint).await)
            .await
    }

    async fn refuse_checkpoint(&self, fence: &Fence) -> Result<(), StoreError> {
        self.write(async |writing| writing.refuse_checkpoint(fence).await)
            .await
    }

    async fn allocate_generation(
        &self,
        fence: &Fence,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(async |writing| writing.generation(fence, (name, above, keys)).await)
            .await
    }

    async fn unswept(
        &self,
        age: Duration,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError> {
        let before = clock::now() - age;
        Ok(retention::unswept(&mut *self.reader().await?, (before, after, limit)).await?)
    }

    async fn swept(&self, generation: &Generation) -> Result<(), StoreError> {
        self.write_unsynced(async |writing| {
            sqlx::query(include_str!("sql/swept.sql"))
                .bind(&generation.name)
                .bind(count(generation.n))
                .bind(generation.ended_at.timestamp_millis())
                .bind(writing.now.timestamp_millis())
                .execute(&mut *writing.connection)
                .await?;
            Ok(())
        })
        .await
    }

    async fn expired(
        &self,
        age: Duration,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        Ok(retention::expired(&mut *self.reader().await?, (age, after, limit)).await?)
    }

    /// Each in a transaction of its own: nobody else writes meanwhile, and the largest one takes seconds.
    async fn forget(&self, runs: &[RunId], age: Duration) -> Result<Vec<RunId>, StoreError> {
        let mut forgotten = Vec::new();
        for run in runs {
            let gone = self.write(async |writing| writing.forget_run(run, age).await);
            forgotten.extend(gone.await?);
        }
        forgotten.sort_unstable();
        Ok(forgotten)
    }

    async fn abandoned(
        &self,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError> {
        Ok(retention::abandoned(&mut *self.reader().await?, (after, limit)).await?)
    }

    async fn cleared(&self, generation: &Generation) -> Result<(), StoreError> {
        self.write_unsynced(async |writing| {
            sqlx::query("delete from abandoned where name = $1 and n = $2")
                .bind(&generation.name)
                .bind(count(generation.n))
                .execute(&mut *writing.connection)
                .await?;
            Ok(())
        })
        .await
    }

    async fn trim_feed(&self, age: Duration, limit: usize) -> Result<usize, StoreError> {
        let trimmed = self.write_unsynced(async |writing| {
            Ok(sqlx::query(include_str!("sql/trim_feed.sql"))
                .bind((writing.now - age).timestamp_millis())
                .bind(count(limit as u64))
                .execute(&mut *writing.connection)
                .await?)
        });
        Ok(trimmed.await?.rows_affected() as usize)
    }

    async fn publish(
        &self,
        fence: &Fence,
        name: &str,
        generation: u64,
    ) -> Result<PublicationMove, StoreError> {
        self.write(async |writing| writing.publish(fence, (name, generation)).await)
            .await
    }

    async fn publication(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(read::publication(&mut *self.reader().await?, name).await?)
    }

    async fn published_by(&self, run: &RunId) -> Result<BTreeSet<StepId>, StoreError> {
        Ok(read::published_by(&mut *self.reader().await?, run).await?)
    }

    async fn open_session(
        &self,
        id: &SessionId,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        sessions::lock(&self.locks, id, lease)?;
        let opened = self
            .write(async |writing| writing.open_session((id, name), lease).await)
            .await;
        if opened.is_err() {
            self.locks.remove(id);
        }
        opened
    }

    async fn offer(&self, id: &SessionId, offer: &Capability) -> Result<(), StoreError> {
        self.write_unsynced(async |writing| claim::offer(&mut *writing.connection, id, offer).await)
            .await
    }

    async fn offers(&self) -> Result<Vec<Capability>, StoreError> {
        Ok(claim::offers(&mut *self.reader().await?).await?)
    }

    async fn renew_session(&self, id: &SessionId, lease: Duration) -> Result<bool, StoreError> {
        let there = {
            let mut connection = self.beats.acquire().await.map_err(Error::from)?;
            sessions::is_there(&mut connection, id).await?
        };
        if !there || sessions::renew(&self.locks, id, lease)? {
            return Ok(there);
        }
        self.write(async |writing| writing.renew_session(id, lease).await)
            .await
    }

    async fn other_sessions(&self, except: &SessionId) -> Result<Vec<(Session, Life)>, StoreError> {
        Ok(sessions::others(&mut *self.reader().await?, &self.locks, except).await?)
    }

    fn proof_within(&self) -> Option<Duration> {
        Some(PROOF)
    }

    async fn due(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        Ok(read::due(&mut *self.reader().await?, clock::now(), limit).await?)
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        let at = read::next_due(&mut *self.reader().await?).await?;
        Ok(at.map(|at| (at - clock::now()).to_std().unwrap_or_default()))
    }

    async fn load_run(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        Ok(read::run(&mut *self.reader().await?, run).await?)
    }

    async fn find_key(&self, key: &str) -> Result<Option<TakenKey>, StoreError> {
        Ok(keys::find(&mut *self.reader().await?, key).await?)
    }

    async fn find_run(&self, fingerprint: &str) -> Result<Option<RunId>, StoreError> {
        Ok(read::find_run(&mut *self.reader().await?, fingerprint).await?)
    }

    async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError> {
        Ok(listing::list_runs(&mut *self.reader().await?, filter).await?)
    }

    async fn snapshot(&self, run: &RunId) -> Result<Snapshot, StoreError> {
        // A transaction, so that all of its statements see the same commit.
        let mut transaction = self.readers.begin().await.map_err(Error::from)?;
        Ok(read::snapshot(&mut transaction, run).await?)
    }

    async fn outline(&self, run: &RunId, window: &Window) -> Result<Outline, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(Error::from)?;
        Ok(outline::outline(&mut transaction, run, window).await?)
    }

    async fn events(
        &self,
        run: &RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        Ok(read::events(&mut *self.reader().await?, run, (after, limit)).await?)
    }

    async fn feed(&self, after: FeedPlace, limit: usize) -> Result<Vec<FeedEvent>, StoreError> {
        Ok(feed::read(&mut *self.reader().await?, after, limit).await?)
    }

    async fn feed_end(&self) -> Result<FeedPlace, StoreError> {
        Ok(feed::end(&mut *self.reader().await?).await?)
    }

    async fn load_plan(&self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        Ok(read::plan(&mut *self.reader().await?, run).await?)
    }

    async fn find_plan(&self, plan: &PlanId) -> Result<Option<RetryPlan>, StoreError> {
        Ok(read::find_plan(&mut *self.reader().await?, plan).await?)
    }

    async fn unproved_plans(&self, limit: usize) -> Result<Vec<(PlanId, RunId)>, StoreError> {
        Ok(read::unproved_plans(&mut *self.reader().await?, limit).await?)
    }

    async fn plan_head(&self, run: &RunId) -> Result<Option<PlanHead>, StoreError> {
        Ok(read::plan_head(&mut *self.reader().await?, run).await?)
    }

    async fn find_shared(&self, key: &str, media: &str) -> Result<Option<Sharer>, StoreError> {
        Ok(reuse::find_shared(&mut *self.reader().await?, (key, media)).await?)
    }

    async fn change_counter(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("pragma data_version")
            .fetch_one(&self.watcher)
            .await
            .map_err(Error::from)?;
        Ok(cells(&row).number("data_version")?)
    }

    async fn newer_schema(&self) -> Result<Option<i64>, StoreError> {
        Ok(schema::newer(&mut *self.reader().await?).await?)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    fn definition(name: &str, bytes: usize) -> DefinitionRecord {
        DefinitionRecord {
            digest: format!("sha256:{name}"),
            name: name.to_owned(),
            version: 1,
            canonical: "x".repeat(bytes),
        }
    }

    /// Lets the database grow by so many pages and no more, as a full disk would.
    async fn limit(store: &SqliteStore, more: i64) {
        let mut writer = store.writer.acquire().await.unwrap();
        let pages: i64 = sqlx::query_scalar("pragma page_count")
            .fetch_one(&mut *writer)
            .await
            .unwrap();
        let limit = sqlx::AssertSqlSafe(format!("pragma max_page_count = {}", pages + more));
        sqlx::query(limit).execute(&mut *writer).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_said_to_be_full_and_nothing_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path()).await.unwrap();
        store
            .save_definition(&definition("before", 10))
            .await
            .unwrap();
        for round in 0..3 {
            limit(&store, 2).await;
            let large = definition(&format!("large {round}"), 1_000_000);
            let error = store.save_definition(&large).await.unwrap_err();
            assert!(matches!(error, StoreError::Full(_)), "{error:?}");
            let named = home.path().display().to_string();
            assert!(error.to_string().contains(&named), "{error}");
            assert_eq!(store.load_definition(&large.digest).await.unwrap(), None);
            // There is room again.
            limit(&store, 10_000).await;
            store.save_definition(&large).await.unwrap();
        }
        let before = store.load_definition("sha256:before").await.unwrap();
        assert_eq!(before, Some(definition("before", 10)));
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_says_what_to_check() {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path()).await.unwrap();
        // What root may write whatever the permissions are, this makes read-only for root too.
        let mut writer = store.writer.acquire().await.unwrap();
        sqlx::query("pragma query_only = 1")
            .execute(&mut *writer)
            .await
            .unwrap();
        drop(writer);
        let error = store
            .save_definition(&definition("d", 1))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("check the permissions"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn commits_are_synchronous_and_rules_are_kept_on_every_connection() {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path()).await.unwrap();
        for pool in [&store.writer, &store.readers, &store.watcher, &store.beats] {
            let mut connection = pool.acquire().await.unwrap();
            let row = sqlx::query(
                "select (select journal_mode from pragma_journal_mode), \
                 (select synchronous from pragma_synchronous), \
                 (select foreign_keys from pragma_foreign_keys)",
            )
            .fetch_one(&mut *connection)
            .await
            .unwrap();
            let settings: (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            // 2 is FULL.
            assert_eq!(settings, ("wal".to_owned(), 2, 1));
        }
    }

    /// The steps of a statement's plan.
    async fn plan(store: &SqliteStore, sql: &'static str) -> Vec<String> {
        let explain = sqlx::AssertSqlSafe(format!("explain query plan {sql}"));
        let rows = sqlx::query(explain)
            .fetch_all(&store.readers)
            .await
            .unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    /// Statements that an idle worker repeats, and those that a wide fan-out repeats per step, must
    /// not look at all steps, nor sort them.
    #[tokio::test]
    async fn hot_statements_read_an_index_in_its_order() {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path()).await.unwrap();
        for (sql, index) in [
            (include_str!("sql/waiting.sql"), "INDEX step_waiting"),
            (include_str!("sql/waiting_of_run.sql"), "INDEX step_ready"),
            (include_str!("sql/count_waiting.sql"), "INDEX step_waiting"),
        ] {
            let plan = plan(&store, sql).await.join("; ");
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("B-TREE"), "{plan}");
        }
        for sql in [
            include_str!("sql/give_tickets.sql"),
            include_str!("sql/load_checkpoints.sql"),
            include_str!("sql/due.sql"),
            include_str!("sql/next_due.sql"),
            include_str!("sql/lock_runs.sql"),
            include_str!("sql/load_runs.sql"),
            include_str!("sql/load_steps_by_key.sql"),
            include_str!("sql/load_steps.sql"),
            include_str!("sql/load_outputs.sql"),
            include_str!("sql/save_runs.sql"),
            include_str!("sql/save_steps.sql"),
            include_str!("sql/save_untouched.sql"),
            include_str!("sql/collapse_steps.sql"),
            include_str!("sql/forget_checkpoints.sql"),
            include_str!("sql/running_of.sql"),
            include_str!("sql/owned.sql"),
            include_str!("sql/end_attempts.sql"),
        ] {
            let plan = plan(&store, sql).await;
            let scans = |line: &&String| {
                ["SCAN step", "SCAN attempt", "SCAN run"]
                    .iter()
                    .any(|scan| line.starts_with(scan))
                    && !line.contains("INDEX")
            };
            assert_eq!(plan.iter().find(scans), None, "{plan:?}");
        }
    }

    /// Reads until it is ended.
    const ENDLESS: &str =
        "with recursive n (x) as (select 1 union all select x + 1 from n) select count(*) from n";

    #[tokio::test(flavor = "multi_thread")]
    async fn visitors_who_never_end_hold_up_nobody_and_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let visiting = store.for_visitors();
        let mut visits = tokio::task::JoinSet::new();
        for _ in 0..VISITORS {
            let mut connection = visiting.readers.acquire().await.unwrap();
            visits.spawn(async move {
                let read = sqlx::query(ENDLESS).fetch_one(&mut *connection).await;
                StoreError::from(Error::from(read.unwrap_err()))
            });
        }
        let began = Instant::now();
        store.save_definition(&definition("a", 10)).await.unwrap();
        assert_eq!(store.waiting(None, 10).await.unwrap(), []);
        drop(store.begin().await.unwrap());
        assert!(began.elapsed() < VISIT, "{:?}", began.elapsed());
        assert!(visits.try_join_next().is_none(), "they were still at it");
        for error in visits.join_all().await {
            assert!(matches!(error, StoreError::Contended(_)), "{error}");
        }
        let page = visiting.list_runs(&RunFilter::default()).await.unwrap();
        assert_eq!(page.runs, []);
    }
}
