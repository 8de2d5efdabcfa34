//! A transaction that asks the store nothing as long as it need not: what it is asked it answers by what this process
//! knows, and all of that is put to the store together with the changes. A transaction like most is one round
//! trip then instead of eight, and nobody waits for its locks while it is folded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::kept::Kept;
use crate::activity::Checkpoint;
use crate::clock;
use crate::id::{RunId, SessionId, StepId};
use crate::machine::Changes;
use crate::queue::Waiting;
use crate::retry::plan::RetryPlan;
use crate::run::{Snapshot, Step};
use crate::store::{
    Admission, Created, Fence, Premises, RequestKey, StepSet, Store, StoreError, TakenKey,
    Transaction, ViewRows,
};

/// How long the database's clock is told by what it said last. Both may be set meanwhile.
const TOLD: Duration = Duration::from_secs(60);
/// By how much more than that what it says may be behind: the two clocks are not equally fast.
const LATE: TimeDelta = TimeDelta::milliseconds(100);

/// What this process knows of the store besides [runs](Kept). Answers that depend on it are asked for before they
/// are given; times are what they are.
#[derive(Debug)]
pub(super) struct Known {
    clock: Mutex<Option<Told>>,
    waits: Mutex<Waits>,
    /// How long it is known that nothing waits: whoever rings may not be heard.
    patience: Duration,
}

/// What the database's clock said, and when.
#[derive(Debug, Clone, Copy)]
struct Told {
    said: DateTime<Utc>,
    heard: Instant,
}

impl Told {
    fn now(self) -> Option<DateTime<Utc>> {
        let since = clock::now().saturating_duration_since(self.heard);
        let since = Some(since).filter(|since| *since < TOLD)?;
        self.said
            .checked_add_signed(TimeDelta::from_std(since).ok()?)
    }
}

/// Whether steps wait in the store that could be claimed.
#[derive(Debug, Default)]
struct Waits {
    /// Grows whenever there may be some.
    signs: u64,
    /// How many signs there had been when somebody looked who took all that waited, and when that was.
    none: Option<(u64, Instant)>,
}

impl Known {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            clock: Mutex::default(),
            waits: Mutex::default(),
            patience,
        }
    }

    fn now(&self) -> Option<DateTime<Utc>> {
        let told = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        told?.now()
    }

    /// What the clock says has been on its way, for at most as long as since it was asked: what was told sooner is
    /// nearer to it, if it is not later than that explains.
    pub(super) fn hear(&self, said: DateTime<Utc>, asked: Instant) {
        let now = clock::now();
        let way = TimeDelta::from_std(now.saturating_duration_since(asked));
        let late = LATE + way.unwrap_or_default();
        let mut told = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let nearer = told.and_then(Told::now);
        let nearer = nearer.filter(|it| *it > said && *it - said < late);
        *told = Some(Told {
            said: nearer.unwrap_or(said),
            heard: now,
        });
    }

    /// Something may wait in the store.
    pub(super) fn something_waits(&self) {
        self.waits().signs += 1;
    }

    /// The signs so far, for whoever is about to look.
    pub(super) fn signs(&self) -> u64 {
        self.waits().signs
    }

    /// Somebody has looked after so many signs, and takes all that waits.
    pub(super) fn nothing_waits(&self, signs: u64) {
        self.waits().none = Some((signs, clock::now()));
    }

    /// Whether somebody should look what waits.
    pub(super) fn may_wait(&self) -> bool {
        let waits = self.waits();
        waits.none.is_none_or(|(signs, looked)| {
            signs != waits.signs || clock::now().saturating_duration_since(looked) >= self.patience
        })
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Such a transaction. It becomes an ordinary one as soon as something is asked that this process cannot answer.
pub(super) struct Assumed {
    store: Arc<dyn Store>,
    kept: Arc<Kept>,
    known: Arc<Known>,
    premises: Premises,
    changes: Vec<(RunId, Changes)>,
    /// The ordinary one.
    opened: Option<Box<dyn Transaction>>,
}

impl Assumed {
    /// None if not even the time is known.
    pub(super) fn begin(
        (store, kept, known): (&Arc<dyn Store>, &Arc<Kept>, &Arc<Known>),
    ) -> Option<Self> {
        let premises = Premises {
            now: known.now()?,
            ..Premises::default()
        };
        Some(Self {
            store: store.clone(),
            kept: kept.clone(),
            known: known.clone(),
            premises,
            changes: Vec::new(),
            opened: None,
        })
    }

    /// The time of its beginning.
    pub(super) fn began(&self) -> DateTime<Utc> {
        self.premises.now
    }

    /// The ordinary transaction, in which all that was answered so far holds.
    async fn open(&mut self) -> Result<&mut dyn Transaction, StoreError> {
        let tx = match self.opened.take() {
            Some(tx) => tx,
            None => {
                let asked = clock::now();
                let mut tx = self.store.begin().await?;
                self.known.hear(tx.now().await?, asked);
                let held = self.premises.hold(tx.as_mut()).await;
                self.doubt(&held);
                held?;
                if !self.changes.is_empty() {
                    tx.save(std::mem::take(&mut self.changes)).await?;
                }
                tx
            }
        };
        Ok(self.opened.insert(tx).as_mut())
    }

    /// If something was not so, it may be that others change these runs too.
    fn doubt<T>(&self, held: &Result<T, StoreError>) {
        if matches!(held, Err(StoreError::Contended(_))) {
            self.kept.doubt(&self.premises.runs);
        }
    }
}

#[async_trait]
impl Transaction for Assumed {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.premises.now)
    }

    async fn take_key(&mut self, key: &RequestKey, run: &RunId) -> Result<TakenKey, StoreError> {
        self.open().await?.take_key(key, run).await
    }

    async fn give_key(&mut self, key: &RequestKey, run: &RunId) -> Result<(), StoreError> {
        self.open().await?.give_key(key, run).await
    }

    /// Two of one fingerprint are not the same as two that are asked for one by one.
    async fn admit_runs(&mut self, new: &[Admission]) -> Result<Vec<Created>, StoreError> {
        let fingerprints: BTreeSet<_> = new.iter().map(|new| &new.fingerprint).collect();
        if self.opened.is_some() || fingerprints.len() < new.len() {
            return self.open().await?.admit_runs(new).await;
        }
        self.premises.admissions = new.to_vec();
        Ok(vec![Created::New; new.len()])
    }

    async fn lock_runs(
        &mut self,
        runs: &BTreeSet<RunId>,
    ) -> Result<BTreeMap<RunId, u64>, StoreError> {
        match self.kept.revisions(runs) {
            Some(revisions) if self.opened.is_none() => {
                self.premises.runs.extend(revisions.clone());
                Ok(revisions)
            }
            _ => self.open().await?.lock_runs(runs).await,
        }
    }

    async fn load_views(&mut self, runs: &BTreeSet<RunId>) -> Result<Vec<ViewRows>, StoreError> {
        self.open().await?.load_views(runs).await
    }

    async fn load_steps(
        &mut self,
        wanted: &[(RunId, StepSet)],
    ) -> Result<Vec<(RunId, Step)>, StoreError> {
        self.open().await?.load_steps(wanted).await
    }

    async fn load_outputs(
        &mut self,
        wanted: &[(RunId, Vec<String>)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, StoreError> {
        self.open().await?.load_outputs(wanted).await
    }

    async fn load_checkpoints(
        &mut self,
        steps: &[(RunId, StepId)],
    ) -> Result<Vec<(RunId, StepId, Checkpoint)>, StoreError> {
        self.open().await?.load_checkpoints(steps).await
    }

    async fn waiting(
        &mut self,
        run: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        self.open().await?.waiting(run, limit).await
    }

    async fn session_is_live(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        if self.opened.is_some() {
            return self.open().await?.session_is_live(session).await;
        }
        self.premises.sessions.insert(session.clone());
        Ok(true)
    }

    async fn running_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, StoreError> {
        self.open().await?.running_of(session).await
    }

    async fn session_is_dead(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        self.open().await?.session_is_dead(session).await
    }

    async fn end_session(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        self.open().await?.end_session(session).await
    }

    async fn save(&mut self, changes: Vec<(RunId, Changes)>) -> Result<(), StoreError> {
        if self.opened.is_some() || !self.changes.is_empty() {
            return self.open().await?.save(changes).await;
        }
        self.changes = changes;
        Ok(())
    }

    async fn snapshot(&mut self, run: &RunId) -> Result<Snapshot, StoreError> {
        self.open().await?.snapshot(run).await
    }

    async fn save_plan(&mut self, plan: &RetryPlan) -> Result<(), StoreError> {
        self.open().await?.save_plan(plan).await
    }

    async fn load_plan(&mut self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        self.open().await?.load_plan(run).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        if let Some(opened) = self.opened.take() {
            return opened.commit().await;
        }
        if self.changes.is_empty() {
            // Whoever is refused something is refused it by what is so.
            if !self.premises.runs.is_empty() {
                self.open().await?;
            }
            return Ok(());
        }
        let changes = std::mem::take(&mut self.changes);
        let asked = clock::now();
        let saved = self.store.save_if(&self.premises, changes).await;
        self.doubt(&saved);
        self.known.hear(saved?, asked);
        Ok(())
    }
}
