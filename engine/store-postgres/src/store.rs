use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool};
use telecine_engine::activity::{Progress, PublicationMove};
use telecine_engine::id::{RunId, SessionId};
use telecine_engine::queue::{Capability, Kind, Waiting};
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{RecordedEvent, Run, Snapshot};
use telecine_engine::store::{
    DefinitionRecord, Due, FeedEvent, FeedPlace, Fence, Life, NewCheckpoint, Outline, PlanHead,
    RunFilter, RunPage, Session, Store, StoreError, TakenKey, Transaction, Window,
};

use crate::beats::Beats;
use crate::error::Error;
use crate::save::Writing;
use crate::transaction::PostgresTransaction;
use crate::{claim, connect, feed, fenced, keys, listing, outline, read, rows, schema, sessions};

/// Connections that write: the committer's, and those of attempts beside it.
const WRITERS: u32 = 6;
/// Connections that read.
const READERS: u32 = 4;
/// Connections that read for visitors.
const VISITORS: u32 = 4;

/// The database at an address.
#[derive(Debug)]
pub struct PostgresStore {
    writers: PgPool,
    readers: PgPool,
    /// A connection of nothing but beats: they wait for nobody else here.
    beats: Arc<Beats>,
    options: PgConnectOptions,
}

impl PostgresStore {
    /// Opens the database at an address (`postgres://user:password@host/database`) and brings its
    /// schema up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached; [`StoreError::Incompatible`] if it
    /// refuses the user, the server is too old, or the schema is of a newer version.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = connect::options(url)?;
        schema::bring_up_to_date(&options).await?;
        Ok(Self {
            writers: connect::pool(WRITERS, connect::pinned(&options)),
            readers: connect::pool(READERS, options.clone()),
            beats: Arc::new(Beats::new(options.clone())),
            options,
        })
    }

    /// The same database for those who look at it from outside. What they read goes over a few connections
    /// of their own, where each statement is ended after five seconds: however many look, and at whatever,
    /// nothing waits for them but other visitors. What they write goes the way of all writes.
    #[must_use]
    pub fn for_visitors(&self) -> Self {
        Self {
            writers: self.writers.clone(),
            readers: connect::visitors(VISITORS, self.options.clone()),
            beats: self.beats.clone(),
            options: self.options.clone(),
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.readers.acquire().await?)
    }

    async fn writer(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.writers.acquire().await?)
    }

    async fn begin_write(&self) -> Result<PostgresTransaction, Error> {
        PostgresTransaction::begin(self.writers.begin().await?).await
    }

    /// Does something in a write transaction of its own.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut transaction = self.begin_write().await?;
        let done = work(&mut transaction.writing()).await?;
        transaction.finish().await?;
        Ok(done)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn save_definition(&self, definition: &DefinitionRecord) -> Result<(), StoreError> {
        let mut db = self.writer().await?;
        sqlx::query(include_str!("sql/save_definition.sql"))
            .bind(&definition.digest)
            .bind(&definition.name)
            .bind(rows::narrow_count(definition.version))
            .bind(&definition.canonical)
            .execute(&mut *db)
            .await
            .map_err(Error::from)?;
        Ok(())
    }

    async fn load_definition(&self, digest: &str) -> Result<Option<DefinitionRecord>, StoreError> {
        Ok(read::definition(&mut *self.reader().await?, digest).await?)
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(self.begin_write().await?))
    }

    async fn waiting(&self, run: Option<&RunId>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        Ok(claim::waiting(&mut *self.reader().await?, run, limit).await?)
    }

    async fn count_waiting(&self) -> Result<Vec<(Kind, u64)>, StoreError> {
        Ok(claim::count_waiting(&mut *self.reader().await?).await?)
    }

    async fn set_deadline(&self, fence: &Fence, after: Duration) -> Result<(), StoreError> {
        Ok(fenced::set_deadline(&mut *self.writer().await?, fence, after).await?)
    }

    async fn save_progress(
        &self,
        progress: &[(Fence, Progress)],
    ) -> Result<Vec<Fence>, StoreError> {
        if progress.is_empty() {
            return Ok(Vec::new());
        }
        Ok(fenced::save_progress(&mut *self.writer().await?, progress).await?)
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
    ) -> Result<u64, StoreError> {
        self.write(async |writing| writing.generation(fence, (name, above)).await)
            .await
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

    async fn open_session(
        &self,
        id: &SessionId,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        Ok(sessions::open(&mut *self.writer().await?, (id, name), lease).await?)
    }

    async fn offer(&self, id: &SessionId, offer: &Capability) -> Result<(), StoreError> {
        Ok(claim::offer(&mut *self.writer().await?, id, offer).await?)
    }

    async fn offers(&self) -> Result<Vec<Capability>, StoreError> {
        Ok(claim::offers(&mut *self.reader().await?).await?)
    }

    async fn renew_session(&self, id: &SessionId, lease: Duration) -> Result<bool, StoreError> {
        let mut db = self.beats.take().await?;
        let there = sessions::renew(&mut db, id, lease).await?;
        self.beats.keep(db);
        Ok(there)
    }

    async fn other_sessions(&self, except: &SessionId) -> Result<Vec<(Session, Life)>, StoreError> {
        Ok(sessions::others(&mut *self.reader().await?, except).await?)
    }

    fn proof_within(&self) -> Option<Duration> {
        None
    }

    async fn due(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        Ok(read::due(&mut *self.reader().await?, limit).await?)
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        let mut db = self.reader().await?;
        let micros: Option<i64> = sqlx::query_scalar(include_str!("sql/next_due_in.sql"))
            .fetch_one(&mut *db)
            .await
            .map_err(Error::from)?;
        Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default())))
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
        let begin = "begin isolation level repeatable read read only";
        let mut db = self.readers.begin_with(begin).await.map_err(Error::from)?;
        let snapshot = read::snapshot(&mut db, run).await?;
        db.commit().await.map_err(Error::from)?;
        Ok(snapshot)
    }

    async fn outline(&self, run: &RunId, window: &Window) -> Result<Outline, StoreError> {
        let begin = "begin isolation level repeatable read read only";
        let mut db = self.readers.begin_with(begin).await.map_err(Error::from)?;
        let outline = outline::outline(&mut db, run, window).await?;
        db.commit().await.map_err(Error::from)?;
        Ok(outline)
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

    async fn plan_head(&self, run: &RunId) -> Result<Option<PlanHead>, StoreError> {
        Ok(read::plan_head(&mut *self.reader().await?, run).await?)
    }

    async fn change_counter(&self) -> Result<i64, StoreError> {
        let mut db = self.reader().await?;
        let counter = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let counter = sqlx::query_scalar(counter).fetch_one(&mut *db).await;
        Ok(counter.map_err(Error::from)?)
    }
}
