use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
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
use tokio::sync::Notify;

use crate::beats::Beats;
use crate::error::Error;
use crate::pool::{Pool, QUICK, Trust, WIDE};
use crate::save::{self, Writing};
use crate::transaction::PostgresTransaction;
use crate::{
    claim, connect, feed, fenced, keys, listing, outline, read, retention, reuse, rows, schema,
    sessions,
};

/// Connections that a process keeps at most, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    /// That write: the committer's, and those of attempts beside it.
    writers: usize,
    /// Of the committer, that write by one statement.
    at_once: usize,
    /// That read.
    readers: usize,
    /// That read for visitors.
    visitors: usize,
}

/// One for beats, and two by which processes tell each other of steps.
const ALONE: usize = 3;

impl Shares {
    /// Of so many connections. What is over goes to those who write.
    fn of(connections: usize) -> Self {
        let shared = connections.max(PostgresStore::FEWEST_CONNECTIONS) - ALONE;
        let at_once = if shared < 10 { 1 } else { 2 };
        let others = (shared - at_once) / 3;
        Self {
            writers: shared - at_once - 2 * others,
            at_once,
            readers: others,
            visitors: others,
        }
    }
}

/// The database at an address.
#[derive(Debug)]
pub struct PostgresStore {
    writers: Pool,
    /// What is written here is written by one statement, which the server gives up before nobody waits for it any
    /// more: it would commit.
    at_once: Pool,
    readers: Pool,
    /// A connection of nothing but beats: they wait for nobody else here.
    beats: Arc<Beats>,
    /// In all connections but that of beats, which finds out first that the server was restarted.
    trust: Trust,
    /// Told when a beat has shown that another session may be gone.
    suspicion: Arc<Notify>,
    options: PgConnectOptions,
    shares: Shares,
}

impl PostgresStore {
    /// Connections of a process without which something would wait for itself.
    pub const FEWEST_CONNECTIONS: usize = 8;
    /// Connections that a process keeps at most, unless it is told otherwise.
    pub const CONNECTIONS: usize = 17;

    /// Opens the database at an address (`postgres://user:password@host/database`) and brings its
    /// schema up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached; [`StoreError::Incompatible`] if it
    /// refuses the user, the server is too old, or the schema is of a newer version.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, Self::CONNECTIONS).await
    }

    /// The same for a process that keeps at most so many connections, those of its
    /// [dispatcher](crate::PostgresDispatcher) among them, and not fewer than
    /// [the fewest](Self::FEWEST_CONNECTIONS).
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(url: &str, connections: usize) -> Result<Self, StoreError> {
        let options = connect::options(url)?;
        schema::bring_up_to_date(&options).await?;
        let (shares, trust) = (Shares::of(connections), Trust::default());
        let pool = |connections, options| Pool::new(connections, options).trusting(&trust);
        Ok(Self {
            writers: pool(shares.writers, connect::pinned(&options)),
            at_once: pool(shares.at_once, connect::at_once(&options)),
            readers: pool(shares.readers, options.clone()),
            beats: Arc::new(Beats::new(options.clone())),
            trust,
            suspicion: Arc::default(),
            options,
            shares,
        })
    }

    /// The same database for those who look at it from outside. What they read goes over a few connections
    /// of their own, where each statement is ended after five seconds: however many look, and at whatever,
    /// nothing waits for them but other visitors. What they write goes the way of all writes.
    #[must_use]
    pub fn for_visitors(&self) -> Self {
        let options = connect::visiting(&self.options);
        Self {
            writers: self.writers.clone(),
            at_once: self.at_once.clone(),
            readers: Pool::with_patience((self.shares.visitors, connect::VISIT), options)
                .trusting(&self.trust),
            beats: self.beats.clone(),
            trust: self.trust.clone(),
            suspicion: self.suspicion.clone(),
            options: self.options.clone(),
            shares: self.shares,
        }
    }

    /// Reads something of which there is not much.
    async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.readers.ask(QUICK, read).await
    }

    /// Reads a whole run, as one moment sees it.
    async fn at_once<T>(
        &self,
        read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let reading = async |db: &mut PgConnection| {
            let begin = "begin isolation level repeatable read read only";
            db.execute(begin).await?;
            let done = read(db).await;
            db.execute("rollback").await?;
            done
        };
        self.readers.ask(WIDE, reading).await
    }

    /// Writes by one statement, which is a transaction of its own.
    async fn write_one<T>(
        &self,
        write: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.writers.ask(QUICK, write).await
    }

    async fn begin_write(&self) -> Result<PostgresTransaction, StoreError> {
        PostgresTransaction::begin(self.writers.lease().await?).await
    }

    /// Does something in a write transaction of its own.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut transaction = self.begin_write().await?;
        let work = async |it: &mut PostgresTransaction| work(&mut it.writing()).await;
        let done = transaction.part(QUICK, work).await?;
        transaction.finish().await?;
        Ok(done)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn save_definition(&self, definition: &DefinitionRecord) -> Result<(), StoreError> {
        let save = sqlx::query(include_str!("sql/save_definition.sql"))
            .bind(&definition.digest)
            .bind(&definition.name)
            .bind(rows::narrow_count(definition.version))
            .bind(&definition.canonical);
        let saved = async |db: &mut PgConnection| Ok(save.execute(db).await?);
        self.write_one(saved).await.map(drop)
    }

    async fn load_definition(&self, digest: &str) -> Result<Option<DefinitionRecord>, StoreError> {
        self.read(async |db| read::definition(db, digest).await)
            .await
    }

    fn transactions_at_once(&self) -> usize {
        2
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(self.begin_write().await?))
    }

    /// By one statement, if that can write all of it.
    async fn save_if(
        &self,
        premises: &Premises,
        changes: Vec<(RunId, Changes)>,
    ) -> Result<DateTime<Utc>, StoreError> {
        if !save::is_plain(&changes) {
            return premises.save(self.begin().await?, changes).await;
        }
        let saving = async |connection: &mut PgConnection| {
            let now = premises.now;
            let mut writing = Writing { connection, now };
            writing.changes_if(premises, &changes).await
        };
        let saved = self.at_once.ask(QUICK, saving).await;
        saved.map_err(|error| match error {
            gone @ (StoreError::Unreachable(_) | StoreError::Full(_)) => gone,
            // Of two that make the same thing at once one breaks a constraint. What else is wrong is found out
            // again in a transaction that asks before it writes: nothing has happened.
            other => StoreError::Contended(other.to_string()),
        })
    }

    async fn waiting(&self, run: Option<&RunId>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.read(async |db| claim::waiting(db, run, limit).await)
            .await
    }

    async fn count_waiting(&self) -> Result<Vec<(Kind, u64)>, StoreError> {
        self.read(async |db| claim::count_waiting(db).await).await
    }

    async fn set_deadline(&self, fence: &Fence, after: Duration) -> Result<(), StoreError> {
        self.write_one(async |db| fenced::set_deadline(db, fence, after).await)
            .await
    }

    async fn save_progress(
        &self,
        progress: &[(Fence, Progress)],
    ) -> Result<Vec<Fence>, StoreError> {
        if progress.is_empty() {
            return Ok(Vec::new());
        }
        self.write_one(async |db| fenced::save_progress(db, progress).await)
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
        let unswept =
            async |db: &mut PgConnection| retention::unswept(db, (age, after, limit)).await;
        self.readers.ask(WIDE, unswept).await
    }

    async fn swept(&self, generation: &Generation) -> Result<(), StoreError> {
        let swept = sqlx::query(include_str!("sql/swept.sql"))
            .bind(&generation.name)
            .bind(rows::count(generation.n))
            .bind(generation.ended_at);
        let noted = async |db: &mut PgConnection| Ok(swept.execute(db).await?);
        self.write_one(noted).await.map(drop)
    }

    async fn expired(
        &self,
        age: Duration,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        let expired =
            async |db: &mut PgConnection| retention::expired(db, (age, after, limit)).await;
        self.readers.ask(WIDE, expired).await
    }

    async fn forget(&self, runs: &[RunId], age: Duration) -> Result<Vec<RunId>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let forget = async |it: &mut PostgresTransaction| it.writing().forget_runs(runs, age).await;
        let forgotten = transaction.part(WIDE, forget).await?;
        transaction.finish().await?;
        Ok(forgotten)
    }

    async fn abandoned(
        &self,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError> {
        self.read(async |db| retention::abandoned(db, (after, limit)).await)
            .await
    }

    async fn cleared(&self, generation: &Generation) -> Result<(), StoreError> {
        let cleared = sqlx::query("delete from abandoned where name = $1 and n = $2")
            .bind(&generation.name)
            .bind(rows::count(generation.n));
        let noted = async |db: &mut PgConnection| Ok(cleared.execute(db).await?);
        self.write_one(noted).await.map(drop)
    }

    async fn trim_feed(&self, age: Duration, limit: usize) -> Result<usize, StoreError> {
        let trim = sqlx::query(include_str!("sql/trim_feed.sql"))
            .bind(age.as_secs_f64())
            .bind(rows::count(limit as u64));
        let trimmed = async |db: &mut PgConnection| Ok(trim.execute(db).await?);
        let trimmed = self.write_one(trimmed).await?;
        Ok(trimmed.rows_affected() as usize)
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
        self.read(async |db| read::publication(db, name).await)
            .await
    }

    async fn published_by(&self, run: &RunId) -> Result<BTreeSet<StepId>, StoreError> {
        self.read(async |db| read::published_by(db, run).await)
            .await
    }

    async fn open_session(
        &self,
        id: &SessionId,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.write_one(async |db| sessions::open(db, (id, name), lease).await)
            .await
    }

    async fn offer(&self, id: &SessionId, offer: &Capability) -> Result<(), StoreError> {
        self.write_one(async |db| claim::offer(db, id, offer).await)
            .await
    }

    async fn offers(&self) -> Result<Vec<Capability>, StoreError> {
        self.read(async |db| claim::offers(db).await).await
    }

    async fn renew_session(&self, id: &SessionId, lease: Duration) -> Result<bool, StoreError> {
        let mut db = self.beats.take().await?;
        let renewed = sessions::renew(&mut db, id, lease).await;
        let renewed = renewed.map_err(StoreError::from).inspect_err(|error| {
            if matches!(error, StoreError::Unreachable(_)) {
                self.trust.lose();
            }
        })?;
        self.beats.keep(db);
        if renewed == Some(true) {
            self.suspicion.notify_one();
        }
        Ok(renewed.is_some())
    }

    async fn suspicion(&self) {
        self.suspicion.notified().await;
    }

    async fn other_sessions(&self, except: &SessionId) -> Result<Vec<(Session, Life)>, StoreError> {
        self.read(async |db| sessions::others(db, except).await)
            .await
    }

    fn proof_within(&self) -> Option<Duration> {
        None
    }

    async fn due(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.read(async |db| read::due(db, limit).await).await
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        let next = sqlx::query_scalar(include_str!("sql/next_due_in.sql"));
        let next = async |db: &mut PgConnection| Ok(next.fetch_one(db).await?);
        let micros: Option<i64> = self.read(next).await?;
        Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default())))
    }

    async fn load_run(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.read(async |db| read::run(db, run).await).await
    }

    async fn find_key(&self, key: &str) -> Result<Option<TakenKey>, StoreError> {
        self.read(async |db| keys::find(db, key).await).await
    }

    async fn find_run(&self, fingerprint: &str) -> Result<Option<RunId>, StoreError> {
        self.read(async |db| read::find_run(db, fingerprint).await)
            .await
    }

    async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError> {
        self.read(async |db| listing::list_runs(db, filter).await)
            .await
    }

    async fn snapshot(&self, run: &RunId) -> Result<Snapshot, StoreError> {
        self.at_once(async |db| read::snapshot(db, run).await).await
    }

    async fn outline(&self, run: &RunId, window: &Window) -> Result<Outline, StoreError> {
        self.at_once(async |db| outline::outline(db, run, window).await)
            .await
    }

    async fn events(
        &self,
        run: &RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read(async |db| read::events(db, run, (after, limit)).await)
            .await
    }

    async fn feed(&self, after: FeedPlace, limit: usize) -> Result<Vec<FeedEvent>, StoreError> {
        self.read(async |db| feed::read(db, after, limit).await)
            .await
    }

    async fn feed_end(&self) -> Result<FeedPlace, StoreError> {
        self.read(async |db| feed::end(db).await).await
    }

    async fn load_plan(&self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        self.read(async |db| read::plan(db, run).await).await
    }

    async fn find_plan(&self, plan: &PlanId) -> Result<Option<RetryPlan>, StoreError> {
        self.read(async |db| read::find_plan(db, plan).await).await
    }

    async fn unproved_plans(&self, limit: usize) -> Result<Vec<(PlanId, RunId)>, StoreError> {
        self.read(async |db| read::unproved_plans(db, limit).await)
            .await
    }

    async fn plan_head(&self, run: &RunId) -> Result<Option<PlanHead>, StoreError> {
        self.read(async |db| read::plan_head(db, run).await).await
    }

    async fn find_shared(&self, key: &str, media: &str) -> Result<Option<Sharer>, StoreError> {
        self.read(async |db| reuse::find_shared(db, (key, media)).await)
            .await
    }

    async fn change_counter(&self) -> Result<i64, StoreError> {
        let counter = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let counter = sqlx::query_scalar(counter);
        let counter = async |db: &mut PgConnection| Ok(counter.fetch_one(db).await?);
        self.read(counter).await
    }

    async fn newer_schema(&self) -> Result<Option<i64>, StoreError> {
        self.read(schema::newer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shares: Shares) -> usize {
        let Shares {
            writers,
            at_once,
            readers,
            visitors,
        } = shares;
        assert!(writers >= 2 && at_once >= 1 && readers >= 1 && visitors >= 1);
        ALONE + writers + at_once + readers + visitors
    }

    #[test]
    fn every_connection_has_its_share() {
        let usual = Shares {
            writers: 4,
            at_once: 2,
            readers: 4,
            visitors: 4,
        };
        assert_eq!(Shares::of(PostgresStore::CONNECTIONS), usual);
        for connections in PostgresStore::FEWEST_CONNECTIONS..100 {
            assert_eq!(all(Shares::of(connections)), connections);
        }
        assert_eq!(all(Shares::of(0)), PostgresStore::FEWEST_CONNECTIONS);
    }
}
