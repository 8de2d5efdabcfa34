//! One transaction over a few runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Sqlite;
use telecine_engine::activity::Checkpoint;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::queue::Waiting;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Snapshot, Step};
use telecine_engine::store::{
    Admission, Created, Fence, Life, PlanHead, RequestKey, StepSet, StoreError, TakenKey,
    Transaction, ViewRows,
};

use crate::error::{Error, in_directory};
use crate::locks::SessionLocks;
use crate::read;
use crate::rows::{cells, count};
use crate::save::Writing;
use crate::script::Script;
use crate::sessions;
use crate::{claim, clock, keys};

/// Holds the write lock of the database from its beginning to its end.
#[derive(Debug)]
pub(crate) struct SqliteTransaction {
    inner: sqlx::Transaction<'static, Sqlite>,
    now: DateTime<Utc>,
    locks: Arc<SessionLocks>,
    /// The data directory, for errors.
    directory: PathBuf,
    ended: Vec<SessionId>,
}

impl SqliteTransaction {
    pub(crate) fn new(
        inner: sqlx::Transaction<'static, Sqlite>,
        locks: Arc<SessionLocks>,
        directory: PathBuf,
    ) -> Self {
        Self {
            inner,
            now: clock::now(),
            locks,
            directory,
            ended: Vec::new(),
        }
    }

    /// The answer of a write, which says where there is no room.
    fn named<T>(&self, written: Result<T, Error>) -> Result<T, StoreError> {
        written.map_err(|error| in_directory(error.into(), &self.directory))
    }

    fn writing(&mut self) -> Writing<'_> {
        Writing {
            connection: &mut self.inner,
            now: self.now,
        }
    }

    /// Runs a script of [what changed](crate::save::Rows).
    pub(crate) async fn run(&mut self, script: Result<Script, Error>) -> Result<(), StoreError> {
        let done = match script {
            Ok(script) => script.run(&mut self.inner, self.now).await,
            Err(error) => Err(error),
        };
        self.named(done)
    }

    async fn admit(&mut self, new: &[Admission]) -> Result<Vec<Created>, Error> {
        let mut known = self.known(new).await?;
        let mut answers = Vec::with_capacity(new.len());
        for new in new {
            let fingerprint = new.fingerprint.as_str();
            match known.get(fingerprint).filter(|_| !new.force) {
                Some(run) => answers.push(Created::Existing(run.clone())),
                None => {
                    known.insert(fingerprint, new.run.clone());
                    answers.push(Created::New);
                }
            }
        }
        Ok(answers)
    }

    /// The latest runs of the fingerprints of those that need not be new.
    async fn known<'n>(&mut self, new: &'n [Admission]) -> Result<HashMap<&'n str, RunId>, Error> {
        let mut known = HashMap::new();
        for new in new.iter().filter(|new| !new.force) {
            let fingerprint = new.fingerprint.as_str();
            if let Some(run) = read::find_run(&mut self.inner, fingerprint).await? {
                known.insert(fingerprint, run);
            }
        }
        Ok(known)
    }

    async fn fences_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, Error> {
        let rows = sqlx::query(include_str!("sql/running_of.sql"))
            .bind(session.as_str())
            .fetch_all(&mut *self.inner)
            .await?;
        rows.iter().map(|row| cells(row).fence()).collect()
    }

    async fn replace_plan(&mut self, plan: &RetryPlan) -> Result<(), Error> {
        sqlx::query(include_str!("sql/supersede_plans.sql"))
            .bind(plan.job.as_str())
            .bind(plan.id.as_str())
            .execute(&mut *self.inner)
            .await?;
        sqlx::query(include_str!("sql/forget_plans.sql"))
            .bind(plan.job.as_str())
            .bind(count(limits::SUPERSEDED_PLANS))
            .execute(&mut *self.inner)
            .await?;
        let state = serde_json::to_value(plan.state)?;
        let head = PlanHead::shortened(plan);
        let steps = u32::try_from(plan.steps.len()).unwrap_or(u32::MAX);
        sqlx::query(include_str!("sql/save_plan.sql"))
            .bind(plan.id.as_str())
            .bind(plan.job.as_str())
            .bind(state.as_str())
            .bind(serde_json::to_string(plan)?)
            .bind(head.as_ref().map(serde_json::to_string).transpose()?)
            .bind(steps)
            .bind(plan.verified.is_none())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.now)
    }

    async fn take_key(&mut self, key: &RequestKey, run: &RunId) -> Result<TakenKey, StoreError> {
        let taken = keys::take(&mut self.inner, (key, run), self.now).await;
        self.named(taken)
    }

    async fn give_key(&mut self, key: &RequestKey, run: &RunId) -> Result<(), StoreError> {
        let given = keys::give(&mut self.inner, key, run).await;
        self.named(given)
    }

    async fn admit_runs(&mut self, new: &[Admission]) -> Result<Vec<Created>, StoreError> {
        let created = self.admit(new).await;
        self.named(created)
    }

    async fn lock_runs(
        &mut self,
        runs: &BTreeSet<RunId>,
    ) -> Result<BTreeMap<RunId, u64>, StoreError> {
        // The transaction has the only lock that there is.
        Ok(read::revisions(&mut self.inner, runs).await?)
    }

    async fn load_views(&mut self, runs: &BTreeSet<RunId>) -> Result<Vec<ViewRows>, StoreError> {
        Ok(read::views(&mut self.inner, runs.iter()).await?)
    }

    async fn load_steps(
        &mut self,
        wanted: &[(RunId, StepSet)],
    ) -> Result<Vec<(RunId, Step)>, StoreError> {
        Ok(read::steps_of(&mut self.inner, wanted).await?)
    }

    async fn load_outputs(
        &mut self,
        wanted: &[(RunId, Vec<String>)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, StoreError> {
        Ok(read::outputs(&mut self.inner, wanted).await?)
    }

    async fn load_checkpoints(
        &mut self,
        steps: &[(RunId, StepId)],
    ) -> Result<Vec<(RunId, StepId, Checkpoint)>, StoreError> {
        Ok(claim::checkpoints(&mut self.inner, steps).await?)
    }

    async fn waiting(
        &mut self,
        run: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        Ok(claim::waiting(&mut self.inner, run, limit).await?)
    }

    async fn session_is_live(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        let ends = sessions::ends(&mut self.inner, &self.locks, session).await?;
        Ok(ends.is_some_and(|ends| ends > self.now))
    }

    async fn running_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, StoreError> {
        Ok(self.fences_of(session).await?)
    }

    async fn session_is_dead(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        let nobody = SessionId::generate();
        let all = sessions::others(&mut self.inner, &self.locks, &nobody).await?;
        Ok(all
            .iter()
            .any(|(other, life)| other.id == *session && !matches!(life, Life::Leased(_))))
    }

    async fn end_session(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        let ended = self.writing().end_session(session).await;
        let was_there = self.named(ended)?;
        self.ended.push(session.clone());
        Ok(was_there)
    }

    async fn save(&mut self, changes: Vec<(RunId, Changes)>) -> Result<(), StoreError> {
        let saved = self.writing().changes(&changes).await;
        self.named(saved)
    }

    async fn snapshot(&mut self, run: &RunId) -> Result<Snapshot, StoreError> {
        Ok(read::snapshot(&mut self.inner, run).await?)
    }

    async fn save_plan(&mut self, plan: &RetryPlan) -> Result<(), StoreError> {
        let saved = self.replace_plan(plan).await;
        self.named(saved)
    }

    async fn load_plan(&mut self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        Ok(read::plan(&mut self.inner, run).await?)
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let committed = self.inner.commit().await.map_err(Error::from);
        committed.map_err(|error| in_directory(error.into(), &self.directory))?;
        // Only now: a lock file must not go before its row.
        for session in &self.ended {
            self.locks.remove(session);
        }
        Ok(())
    }
}
