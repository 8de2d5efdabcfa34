//! A database in memory: the port's contract and nothing else. It writes one transaction at a time, its
//! clock is the engine's, which a simulation lets pass, and what every call meets on its way there is
//! up to a [`Fate`].

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use telecine_engine::activity::{Checkpoint, Progress, PublicationMove};
use telecine_engine::clock;
use telecine_engine::id::{PlanId, RunId, SessionId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::queue::{Capability, Kind, Waiting};
use telecine_engine::retry::plan::{PlanState, RetryPlan};
use telecine_engine::run::{Event, RecordedEvent, Run, RunStatus, Snapshot, Step};
use telecine_engine::store::{
    Admission, Created, DefinitionRecord, Due, FeedEvent, FeedPlace, Fence, Generation, Life,
    NewCheckpoint, Outline, Paging, PlanHead, RequestKey, RunFilter, RunPage, Session, Sharer,
    StepSet, Store, StoreError, TakenKey, Transaction, ViewRows, Window,
};
use tokio::sync::OwnedMutexGuard;

use self::rows::{Rows, fence};
use crate::sim::States;

/// What becomes of the calls of one process.
#[async_trait]
pub trait Fate: std::fmt::Debug + Send + Sync {
    /// Before a call reaches the database; an error is what the caller gets.
    async fn on_the_way(&self) -> Result<(), StoreError>;

    /// When a transaction is to be committed.
    async fn at_commit(&self) -> AtCommit;

    /// Before the caller hears of a commit.
    async fn on_the_way_back(&self);
}

/// What becomes of a commit.
#[derive(Debug)]
pub enum AtCommit {
    /// It is made.
    Made,
    /// It is not made.
    Failed(StoreError),
    /// It is made, and nobody is told.
    Unanswered(StoreError),
}

/// Everything arrives.
#[derive(Debug)]
struct Calm;

#[async_trait]
impl Fate for Calm {
    async fn on_the_way(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn at_commit(&self) -> AtCommit {
        AtCommit::Made
    }

    async fn on_the_way_back(&self) {}
}

/// What one transaction did to one run.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its states before; none if it was made in the transaction.
    pub before: States,
    /// Its states after.
    pub after: States,
    /// Events of the transaction.
    pub events: Vec<&'a Event>,
    /// The plan that was executed last.
    pub plan: Option<&'a RetryPlan>,
}

/// Sees every commit, in order.
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// A transaction was made that changed a run.
    fn committed(&self, commit: &Commit<'_>);
}

/// A connection to a database in memory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    fate: Arc<dyn Fate>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    state: Mutex<State>,
    /// Renewed without waiting for a transaction.
    sessions: Mutex<BTreeMap<SessionId, Lease>>,
    offers: Mutex<BTreeMap<SessionId, Capability>>,
    writing: Arc<tokio::sync::Mutex<()>>,
    /// Every event in the order of the commits: run and number.
    feed: Mutex<Vec<Option<(RunId, u64)>>>,
    witness: Option<Arc<dyn Witness>>,
}

#[derive(Debug, Clone)]
struct Lease {
    opened: usize,
    name: String,
    until: DateTime<Utc>,
}

/// A generation of a name.
#[derive(Debug, Clone)]
struct Allocated {
    n: u64,
    run: RunId,
    keys: Option<String>,
    swept_at: Option<DateTime<Utc>>,
}

/// What a transaction sees and changes.
#[derive(Debug, Clone, Default)]
struct State {
    definitions: Arc<BTreeMap<String, DefinitionRecord>>,
    runs: BTreeMap<RunId, Arc<Rows>>,
    requests: BTreeMap<String, RunId>,
    keys: BTreeMap<String, TakenKey>,
    /// Of each name in the order of their numbers.
    generations: BTreeMap<String, Vec<Allocated>>,
    /// The highest generations of forgotten runs.
    marks: BTreeMap<String, u64>,
    /// Of forgotten runs, by name and number.
    abandoned: BTreeMap<(String, u64), Generation>,
    /// The current generation of each name, and the one before.
    publications: BTreeMap<String, (u64, Option<u64>)>,
    /// Steps that made a generation of their run the current one.
    published: BTreeMap<RunId, BTreeSet<StepId>>,
    /// Who shares what by key and store of results, and when that was shared.
    shared: BTreeMap<(String, String), (u64, Sharer)>,
    /// Keys by when they were shared.
    shares: BTreeMap<u64, (String, String)>,
    commits: i64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn now(&self) -> DateTime<Utc> {
        let after = TimeDelta::from_std(clock::now() - self.origin);
        // A millisecond is what stores keep.
        let millis = after.unwrap_or_default().num_milliseconds();
        DateTime::from_timestamp_millis(1_750_000_000_000 + millis).unwrap_or_default()
    }

    fn later(&self, after: Duration) -> DateTime<Utc> {
        let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::days(36_500));
        self.now() + after.min(TimeDelta::days(36_500))
    }

    /// Adds to the feed what a commit wrote.
    fn tell(&self, before: &State, now: &State) {
        let mut feed = lock(&self.feed);
        for (run, rows) in &now.runs {
            let known = before.runs.get(run);
            if known.is_some_and(|known| Arc::ptr_eq(known, rows)) {
                continue;
            }
            let told = known.map_or(0, |known| known.events.len());
            let new = rows.events.iter().skip(told);
            feed.extend(new.map(|event| Some((run.clone(), event.seq))));
        }
    }

    fn lives(&self, session: &SessionId) -> Option<bool> {
        let sessions = lock(&self.sessions);
        let lease = sessions.get(session)?;
        Some(lease.until > self.now())
    }
}

impl MemoryStore {
    fn new(witness: Option<Arc<dyn Witness>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                origin: clock::now(),
                state: Mutex::default(),
                sessions: Mutex::default(),
                offers: Mutex::default(),
                writing: Arc::default(),
                feed: Mutex::default(),
                witness,
            }),
            fate: Arc::new(Calm),
        }
    }

    /// An empty database whose commits somebody sees.
    #[must_use]
    pub fn witnessed(witness: Arc<dyn Witness>) -> Self {
        Self::new(Some(witness))
    }

    /// The same database for another process.
    #[must_use]
    pub fn with_fate(&self, fate: Arc<dyn Fate>) -> Self {
        Self {
            shared: self.shared.clone(),
            fate,
        }
    }

    /// Everything of a run, as it is this moment.
    #[must_use]
    pub fn look(&self, run: &RunId) -> Option<(Snapshot, Vec<RecordedEvent>)> {
        let rows = lock(&self.shared.state).runs.get(run).cloned()?;
        Some((rows.snapshot(), rows.events.clone()))
    }

    /// How long there has been this database.
    #[must_use]
    pub fn age(&self) -> Duration {
        clock::now() - self.shared.origin
    }

    /// Steps that are running now: which, by whom, and whether that session is leased, lapsed or ended.
    #[must_use]
    pub fn running(&self) -> Vec<(Fence, SessionId, Option<bool>)> {
        let state = lock(&self.shared.state);
        let runs = state.runs.values();
        runs.flat_map(|rows| rows.steps.values().map(|step| (&rows.run.id, step)))
            .filter_map(|(run, step)| {
                let session = step.running.as_ref()?.session.clone();
                let lives = self.shared.lives(&session);
                Some((fence(run, step), session, lives))
            })
            .collect()
    }

    async fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.fate.on_the_way().await?;
        Ok(look(&lock(&self.shared.state)))
    }

    async fn write<T>(
        &self,
        work: impl FnOnce(&mut State, DateTime<Utc>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tx = self.open().await?;
        let now = tx.now;
        let done = work(&mut tx.state, now)?;
        tx.make().await?;
        Ok(done)
    }

    async fn open(&self) -> Result<MemoryTransaction, StoreError> {
        self.fate.on_the_way().await?;
        let writing = self.shared.writing.clone().lock_owned().await;
        let state = lock(&self.shared.state).clone();
        Ok(MemoryTransaction {
            store: self.clone(),
            state,
            now: self.shared.now(),
            ended: Vec::new(),
            writing,
        })
    }
}

impl State {
    /// The latest run of a fingerprint, after one has left it or come to it.
    fn find_anew(&mut self, fingerprint: &str) {
        let mut runs = self.runs.iter().rev();
        let latest = runs.find(|(_, rows)| rows.run.fingerprint == fingerprint);
        match latest {
            Some((run, _)) => self.requests.insert(fingerprint.to_owned(), run.clone()),
            None => self.requests.remove(fingerprint),
        };
    }

    /// Whether a run ended so long ago, and never published anything.
    fn is_expired(&self, run: &RunId, (age, now): (Duration, DateTime<Utc>)) -> bool {
        let run_of = self.runs.get(run).map(|rows| &rows.run);
        let waits = |run: &Run| run.status == RunStatus::Held;
        let ended_at = run_of
            .filter(|run| !waits(run))
            .and_then(|run| run.ended_at);
        ended_at.is_some_and(|ended_at| ended_at + age <= now) && !self.published.contains_key(run)
    }

    /// A generation, if it is known where its objects are and its run has ended.
    fn placed(&self, name: &str, it: &Allocated) -> Option<Generation> {
        let run = &self.runs.get(&it.run)?.run;
        Some(Generation {
            name: name.to_owned(),
            n: it.n,
            run: it.run.clone(),
            store: run.stores.media.clone(),
            keys: it.keys.clone()?,
            ended_at: run.ended_at?,
            published: self.published.contains_key(&it.run),
        })
    }

    fn succeeded(&self, run: &RunId) -> bool {
        let rows = self.runs.get(run);
        rows.is_some_and(|rows| rows.run.status == RunStatus::Succeeded)
    }

    fn forget(&mut self, runs: &[RunId]) {
        let all = self.generations.iter();
        let all = all.flat_map(|(name, of_name)| of_name.iter().map(move |it| (name, it)));
        let gone = all.filter(|(_, it)| runs.contains(&it.run));
        let (mut marks, mut abandoned) = (Vec::new(), Vec::new());
        for (name, it) in gone {
            marks.push((name.clone(), it.n));
            let placed = self.placed(name, it);
            abandoned.extend(placed.filter(|_| !self.succeeded(&it.run)));
        }
        for (name, n) in marks {
            let mark = self.marks.entry(name).or_default();
            *mark = n.max(*mark);
        }
        for it in abandoned {
            self.abandoned.insert((it.name.clone(), it.n), it);
        }
        for of_name in self.generations.values_mut() {
            of_name.retain(|it| !runs.contains(&it.run));
        }
        let gone = runs.iter().filter_map(|run| self.runs.remove(run));
        let gone: Vec<_> = gone.collect();
        for rows in gone {
            self.find_anew(&rows.run.fingerprint);
        }
        self.keys.retain(|_, taken| !runs.contains(&taken.run));
    }

    fn rows(&self, run: &RunId) -> Result<&Rows, StoreError> {
        let rows = self.runs.get(run);
        rows.map(Arc::as_ref)
            .ok_or_else(|| StoreError::NoRun(run.clone()))
    }

    fn rows_mut(&mut self, run: &RunId) -> Result<&mut Rows, StoreError> {
        let rows = self.runs.get_mut(run);
        rows.map(Arc::make_mut)
            .ok_or_else(|| StoreError::NoRun(run.clone()))
    }

    /// All of a run in the order of the definition, or all of each kind in the order in which they go.
    fn waiting(&self, run: Option<&RunId>, limit: usize) -> Vec<Waiting> {
        let of = |run: &RunId| self.runs.get(run).map(|rows| rows.waiting());
        if let Some(run) = run {
            return of(run).into_iter().flatten().take(limit).collect();
        }
        let mut by_kind: BTreeMap<Kind, Vec<Waiting>> = BTreeMap::new();
        for waiting in self.runs.keys().filter_map(of).flatten() {
            let kind = waiting.ticket.kind.clone();
            by_kind.entry(kind).or_default().push(waiting);
        }
        let first = by_kind.into_values().flat_map(|mut of_kind| {
            // Those of a run are in order already.
            of_kind.sort_by(|a, b| (a.ticket.rank, &a.run).cmp(&(b.ticket.rank, &b.run)));
            of_kind.truncate(limit);
            of_kind
        });
        first.collect()
    }

    /// Tells of the runs that are not as they were.
    fn tell(&self, before: &Self, witness: &dyn Witness) {
        for (run, rows) in &self.runs {
            let old = before.runs.get(run);
            if old.is_some_and(|old| Arc::ptr_eq(old, rows)) {
                continue;
            }
            let known = old.map_or(0, |old| old.events.len());
            witness.committed(&Commit {
                run,
                before: old.map(|old| old.states()).unwrap_or_default(),
                after: rows.states(),
                events: rows.events[known..].iter().map(|it| &it.event).collect(),
                plan: rows.executed_plan(),
            });
        }
    }

    fn share(&mut self, run: &RunId, changes: &Changes) {
        for (step, shared) in &changes.shared {
            let sharer = Sharer {
                run: run.clone(),
                step: step.clone(),
                seal: shared.seal.clone(),
            };
            let number = self.shares.keys().next_back().map_or(1, |last| last + 1);
            let key = (shared.key.clone(), shared.media.clone());
            self.shares.insert(number, key.clone());
            if let Some((before, _)) = self.shared.insert(key, (number, sharer)) {
                self.shares.remove(&before);
            }
            while let Some(oldest) = self.shares.first_entry()
                && *oldest.key() + limits::REUSE_KEYS <= number
            {
                self.shared.remove(&oldest.remove());
            }
        }
    }

    fn due(&self) -> Vec<(DateTime<Utc>, Due)> {
        let runs = self.runs.values();
        let steps = runs.flat_map(|rows| rows.steps.values().map(|step| (&rows.run.id, step)));
        let mut due: Vec<_> = steps
            .filter_map(|(run, step)| match (step.due_at, step.deadline_at) {
                (Some(at), _) => Some((at, Due::Backoff(run.clone(), step.id.clone()))),
                (None, Some(at)) => Some((at, Due::Deadline(fence(run, step)))),
                (None, None) => None,
            })
            .collect();
        due.sort_by_key(|(at, _)| *at);
        due
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn save_definition(&self, definition: &DefinitionRecord) -> Result<(), StoreError> {
        self.write(|state, _| {
            Arc::make_mut(&mut state.definitions)
                .entry(definition.digest.clone())
                .or_insert_with(|| definition.clone());
            Ok(())
        })
        .await
    }

    async fn load_definition(&self, digest: &str) -> Result<Option<DefinitionRecord>, StoreError> {
        self.read(|state| state.definitions.get(digest).cloned())
            .await
    }

    /// As many as any store takes, though one waits for the other here.
    fn transactions_at_once(&self) -> usize {
        2
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(self.open().await?))
    }

    async fn waiting(&self, run: Option<&RunId>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.read(|state| state.waiting(run, limit)).await
    }

    async fn count_waiting(&self) -> Result<Vec<(Kind, u64)>, StoreError> {
        self.read(|state| {
            let mut counts = BTreeMap::new();
            for waiting in state.waiting(None, usize::MAX) {
                *counts.entry(waiting.ticket.kind).or_default() += 1;
            }
            counts.into_iter().collect()
        })
        .await
    }

    async fn set_deadline(&self, fence: &Fence, after: Duration) -> Result<(), StoreError> {
        let at = self.shared.later(after);
        self.write(|state, _| {
            state.rows_mut(&fence.run)?.owned(fence)?.deadline_at = Some(at);
            Ok(())
        })
        .await
    }

    async fn save_progress(
        &self,
        progress: &[(Fence, Progress)],
    ) -> Result<Vec<Fence>, StoreError> {
        self.write(|state, _| {
            let mut lost = Vec::new();
            for (fence, progress) in progress {
                match state.rows_mut(&fence.run)?.owned(fence) {
                    Ok(step) => step.progress = Some(Box::new(*progress)),
                    Err(_) => lost.push(fence.clone()),
                }
            }
            Ok(lost)
        })
        .await
    }

    async fn save_checkpoint(
        &self,
        fence: &Fence,
        checkpoint: &NewCheckpoint,
    ) -> Result<u64, StoreError> {
        self.write(|state, now| {
            let rows = state.rows_mut(&fence.run)?;
            rows.save_checkpoint(fence, (checkpoint, now))
        })
        .await
    }

    async fn refuse_checkpoint(&self, fence: &Fence) -> Result<(), StoreError> {
        self.write(|state, now| state.rows_mut(&fence.run)?.refuse_checkpoint(fence, now))
            .await
    }

    async fn allocate_generation(
        &self,
        fence: &Fence,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(|state, _| {
            let rows = state.rows_mut(&fence.run)?;
            rows.owned(fence)?;
            let of_name = state.generations.entry(name.to_owned()).or_default();
            let placed = |n: u64| keys.map(|keys| keys.replace("{n}", &n.to_string()));
            if let Some(own) = of_name.iter_mut().find(|it| it.run == fence.run) {
                own.keys = own.keys.take().or_else(|| placed(own.n));
                return Ok(own.n);
            }
            let others = of_name.iter().map(|it| it.n);
            let last = others.chain(state.marks.get(name).copied()).max();
            let n = last.unwrap_or_default().max(u64::from(above)) + 1;
            of_name.push(Allocated {
                n,
                run: fence.run.clone(),
                keys: placed(n),
                swept_at: None,
            });
            Ok(n)
        })
        .await
    }

    async fn unswept(
        &self,
        age: Duration,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError> {
        self.write(|state, now| {
            let after = after.map(|after| (&after.name, after.n));
            let mut found = Vec::new();
            for (name, of_name) in &state.generations {
                let behind = of_name
                    .iter()
                    .filter(|it| after.is_none_or(|after| (name, it.n) > after));
                for it in behind {
                    let is_first = |rows: &Arc<Rows>| rows.run.round == 1;
                    let is_certain = !state.published.contains_key(&it.run)
                        || (state.succeeded(&it.run)
                            && state.runs.get(&it.run).is_some_and(is_first));
                    let placed = state.placed(name, it).filter(|placed| {
                        placed.ended_at + age <= now && it.swept_at < Some(placed.ended_at)
                    });
                    found.extend(placed.filter(|_| is_certain));
                }
            }
            found.truncate(limit);
            Ok(found)
        })
        .await
    }

    async fn swept(&self, generation: &Generation) -> Result<(), StoreError> {
        self.write(|state, now| {
            let run = state.runs.get(&generation.run);
            if run.and_then(|rows| rows.run.ended_at) != Some(generation.ended_at) {
                return Ok(());
            }
            let mut of_name = state
                .generations
                .get_mut(&generation.name)
                .into_iter()
                .flatten();
            if let Some(own) = of_name.find(|it| it.n == generation.n) {
                own.swept_at = Some(now);
            }
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
        self.write(|state, now| {
            let runs = state.runs.keys();
            let runs = runs.filter(|run| after.is_none_or(|after| *run > after));
            let expired = runs.filter(|run| state.is_expired(run, (age, now)));
            Ok(expired.take(limit).cloned().collect())
        })
        .await
    }

    async fn forget(&self, runs: &[RunId], age: Duration) -> Result<Vec<RunId>, StoreError> {
        self.write(|state, now| {
            let mut gone = runs.to_vec();
            gone.sort_unstable();
            gone.retain(|run| state.is_expired(run, (age, now)));
            state.forget(&gone);
            Ok(gone)
        })
        .await
    }

    async fn abandoned(
        &self,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError> {
        self.read(|state| {
            let after = after.map(|after| (&after.name, after.n));
            let all = state.abandoned.values();
            let behind = all.filter(|it| after.is_none_or(|after| (&it.name, it.n) > after));
            behind.take(limit).cloned().collect()
        })
        .await
    }

    async fn cleared(&self, generation: &Generation) -> Result<(), StoreError> {
        self.write(|state, _| {
            let key = (generation.name.clone(), generation.n);
            state.abandoned.remove(&key);
            Ok(())
        })
        .await
    }

    async fn trim_feed(&self, age: Duration, limit: usize) -> Result<usize, StoreError> {
        self.write(|state, now| {
            let is_young = |(run, seq): &(RunId, u64)| {
                let events = state.runs.get(run).map(|rows| &rows.events);
                let at = events.and_then(|events| Some(events.get(*seq as usize - 1)?.at));
                at.is_some_and(|at| at + age > now)
            };
            let mut feed = lock(&self.shared.feed);
            let older = feed.len().saturating_sub(1);
            let told = feed.iter_mut().take(older).filter(|told| told.is_some());
            let oldest = told.take(limit);
            let old = oldest.filter(|told| !told.as_ref().is_some_and(is_young));
            Ok(old.map(Option::take).count())
        })
        .await
    }

    async fn publish(
        &self,
        fence: &Fence,
        name: &str,
        generation: u64,
    ) -> Result<PublicationMove, StoreError> {
        self.write(|state, now| {
            state.rows_mut(&fence.run)?.owned(fence)?;
            let of_name = state.generations.get(name);
            let allocated = of_name.and_then(|it| it.iter().find(|it| it.n == generation));
            let Some(allocated) = allocated else {
                let why = format!("generation {generation} of {name} was never allocated");
                return Err(StoreError::Corrupt(why));
            };
            let is_own = allocated.run == fence.run;
            let before = state.publications.get(name).copied();
            if before.is_none_or(|(current, _)| current < generation) {
                let previous = before.map(|(current, _)| current);
                state
                    .publications
                    .insert(name.to_owned(), (generation, previous));
                if is_own {
                    let published = state.published.entry(fence.run.clone()).or_default();
                    published.insert(fence.step.clone());
                }
                let data = json!({"name": name, "generation": generation, "previous": previous});
                let event = Event {
                    kind: "publication.moved".to_owned(),
                    step: Some(fence.step.clone()),
                    data,
                };
                state.rows_mut(&fence.run)?.event(event, now);
            }
            let (current, previous) = state.publications[name];
            Ok(PublicationMove { previous, current })
        })
        .await
    }

    async fn publication(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.read(|state| state.publications.get(name).map(|(current, _)| *current))
            .await
    }

    async fn published_by(&self, run: &RunId) -> Result<BTreeSet<StepId>, StoreError> {
        self.read(|state| state.published.get(run).cloned().unwrap_or_default())
            .await
    }

    async fn open_session(
        &self,
        id: &SessionId,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.fate.on_the_way().await?;
        let mut sessions = lock(&self.shared.sessions);
        let lease = Lease {
            opened: sessions.len(),
            name: name.to_owned(),
            until: self.shared.later(lease),
        };
        sessions.insert(id.clone(), lease);
        Ok(())
    }

    async fn offer(&self, id: &SessionId, offer: &Capability) -> Result<(), StoreError> {
        self.fate.on_the_way().await?;
        lock(&self.shared.offers).insert(id.clone(), offer.clone());
        Ok(())
    }

    async fn offers(&self) -> Result<Vec<Capability>, StoreError> {
        self.fate.on_the_way().await?;
        Ok(lock(&self.shared.offers).values().cloned().collect())
    }

    async fn renew_session(&self, id: &SessionId, lease: Duration) -> Result<bool, StoreError> {
        self.fate.on_the_way().await?;
        let until = self.shared.later(lease);
        let mut sessions = lock(&self.shared.sessions);
        let session = sessions.get_mut(id);
        Ok(session.map(|session| session.until = until).is_some())
    }

    async fn other_sessions(&self, except: &SessionId) -> Result<Vec<(Session, Life)>, StoreError> {
        self.fate.on_the_way().await?;
        let now = self.shared.now();
        let sessions = lock(&self.shared.sessions);
        let mut others: Vec<_> = sessions.iter().filter(|(id, _)| *id != except).collect();
        others.sort_by_key(|(id, lease)| (lease.opened, (*id).clone()));
        let others = others.into_iter().map(|(id, lease)| {
            let life = match (lease.until - now).to_std() {
                Ok(left) if !left.is_zero() => Life::Leased(left),
                _ => Life::Lapsed,
            };
            let session = Session {
                id: id.clone(),
                name: lease.name.clone(),
                expires_at: lease.until,
            };
            (session, life)
        });
        Ok(others.collect())
    }

    fn proof_within(&self) -> Option<Duration> {
        None
    }

    async fn due(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        let now = self.shared.now();
        self.read(|state| {
            let due = state.due().into_iter().filter(|(at, _)| *at <= now);
            due.take(limit).map(|(_, due)| due).collect()
        })
        .await
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        self.fate.on_the_way().await?;
        let now = self.shared.now();
        let first = lock(&self.shared.state).due().into_iter().next();
        Ok(first.map(|(at, _)| (at - now).to_std().unwrap_or_default()))
    }

    async fn load_run(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.read(|state| state.runs.get(run).map(|rows| rows.run.clone()))
            .await
    }

    async fn find_key(&self, key: &str) -> Result<Option<TakenKey>, StoreError> {
        self.read(|state| state.keys.get(key).cloned()).await
    }

    async fn find_run(&self, fingerprint: &str) -> Result<Option<RunId>, StoreError> {
        self.read(|state| state.requests.get(fingerprint).cloned())
            .await
    }

    async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError> {
        self.read(|state| {
            let mut paging = Paging::new(filter);
            while let Some(look) = paging.look() {
                let ids = state.runs.keys().rev();
                let ids = ids.filter(|id| **id < look.before && **id > look.after);
                let seen: Vec<RunId> = ids.take(look.limit).cloned().collect();
                let runs = seen.iter().filter_map(|id| state.runs.get(id));
                let fitting = runs.map(|rows| &rows.run).filter(|run| fits(run, filter));
                let fitting = fitting.take(paging.missing()).cloned().collect();
                paging.add(&seen, fitting);
            }
            paging.page()
        })
        .await
    }

    async fn snapshot(&self, run: &RunId) -> Result<Snapshot, StoreError> {
        self.read(|state| state.rows(run).map(Rows::snapshot))
            .await?
    }

    async fn outline(&self, run: &RunId, window: &Window) -> Result<Outline, StoreError> {
        self.read(|state| Ok(state.rows(run)?.outline(window)))
            .await?
    }

    async fn events(
        &self,
        run: &RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read(|state| {
            let rows = state.runs.get(run);
            let events = rows.into_iter().flat_map(|rows| &rows.events);
            let later = events.filter(|event| event.seq > after);
            later.take(limit).cloned().collect()
        })
        .await
    }

    async fn feed(&self, after: FeedPlace, limit: usize) -> Result<Vec<FeedEvent>, StoreError> {
        self.read(|state| {
            let seen = usize::try_from(after.entry).unwrap_or(usize::MAX);
            let feed = lock(&self.shared.feed);
            let later = feed.iter().zip(1..).skip(seen);
            let events = later.filter_map(|(told, entry)| {
                let (run, seq) = told.as_ref()?;
                let events = &state.runs.get(run)?.events;
                let recorded = events.get(usize::try_from(*seq).ok()? - 1)?.clone();
                Some(FeedEvent {
                    place: FeedPlace {
                        entry,
                        ..FeedPlace::default()
                    },
                    run: run.clone(),
                    recorded,
                })
            });
            events.take(limit).collect()
        })
        .await
    }

    async fn feed_end(&self) -> Result<FeedPlace, StoreError> {
        self.read(|_| FeedPlace {
            entry: lock(&self.shared.feed).len() as u64,
            ..FeedPlace::default()
        })
        .await
    }

    async fn load_plan(&self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        self.read(|state| state.runs.get(run)?.plans.last().cloned())
            .await
    }

    async fn find_plan(&self, plan: &PlanId) -> Result<Option<RetryPlan>, StoreError> {
        self.read(|state| {
            let mut plans = state.runs.values().flat_map(|rows| &rows.plans);
            plans.find(|known| known.id == *plan).cloned()
        })
        .await
    }

    async fn unproved_plans(&self, limit: usize) -> Result<Vec<(PlanId, RunId)>, StoreError> {
        self.read(|state| {
            let plans = state.runs.values().flat_map(|rows| &rows.plans);
            let plans = plans
                .filter(|plan| plan.verified.is_none() && plan.state == PlanState::Proposed)
                .map(|plan| (plan.id.clone(), plan.job.clone()));
            let mut plans: Vec<_> = plans.collect();
            // Their ids grow.
            plans.sort_by(|one, other| other.cmp(one));
            plans.truncate(limit);
            plans
        })
        .await
    }

    async fn plan_head(&self, run: &RunId) -> Result<Option<PlanHead>, StoreError> {
        Ok(self.load_plan(run).await?.map(PlanHead::of))
    }

    async fn find_shared(&self, key: &str, media: &str) -> Result<Option<Sharer>, StoreError> {
        let key = (key.to_owned(), media.to_owned());
        self.read(|state| state.shared.get(&key).map(|(_, sharer)| sharer.clone()))
            .await
    }

    async fn change_counter(&self) -> Result<i64, StoreError> {
        self.read(|state| state.commits).await
    }

    async fn newer_schema(&self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}

fn fits(run: &Run, filter: &RunFilter) -> bool {
    let says = |value: Option<&Value>, hash: &str| {
        value
            .and_then(|value| value.get("hash"))
            .and_then(Value::as_str)
            == Some(hash)
    };
    filter.status.is_none_or(|status| status == run.status)
        && filter
            .workflow
            .as_ref()
            .is_none_or(|name| *name == run.workflow)
        && filter
            .label
            .as_ref()
            .is_none_or(|(name, value)| run.labels.get(name) == Some(value))
        && filter
            .hash
            .as_ref()
            .is_none_or(|hash| says(Some(&run.input), hash) || says(run.output.as_ref(), hash))
        && filter
            .created_after
            .is_none_or(|after| run.created_at > after)
}

/// The only one of its moment.
struct MemoryTransaction {
    store: MemoryStore,
    state: State,
    now: DateTime<Utc>,
    ended: Vec<SessionId>,
    writing: OwnedMutexGuard<()>,
}

impl MemoryTransaction {
    async fn make(mut self) -> Result<(), StoreError> {
        let told = match self.store.fate.at_commit().await {
            AtCommit::Failed(error) => return Err(error),
            AtCommit::Unanswered(error) => Err(error),
            AtCommit::Made => Ok(()),
        };
        self.state.commits += 1;
        let shared = &self.store.shared;
        let before = std::mem::replace(&mut *lock(&shared.state), self.state.clone());
        shared.tell(&before, &self.state);
        if let Some(witness) = &shared.witness {
            self.state.tell(&before, witness.as_ref());
        }
        lock(&shared.sessions).retain(|id, _| !self.ended.contains(id));
        lock(&shared.offers).retain(|id, _| !self.ended.contains(id));
        drop(self.writing);
        self.store.fate.on_the_way_back().await;
        told
    }
}

#[async_trait]
impl Transaction for MemoryTransaction {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.now)
    }

    async fn take_key(&mut self, key: &RequestKey, run: &RunId) -> Result<TakenKey, StoreError> {
        let taken = TakenKey {
            run: run.clone(),
            digest: key.digest.clone(),
        };
        Ok(self
            .state
            .keys
            .entry(key.key.clone())
            .or_insert(taken)
            .clone())
    }

    async fn give_key(&mut self, key: &RequestKey, run: &RunId) -> Result<(), StoreError> {
        let taken = TakenKey {
            run: run.clone(),
            digest: key.digest.clone(),
        };
        self.state.keys.insert(key.key.clone(), taken);
        Ok(())
    }

    async fn admit_runs(&mut self, new: &[Admission]) -> Result<Vec<Created>, StoreError> {
        let mut created = Vec::new();
        for new in new {
            let requests = &mut self.state.requests;
            if let Some(run) = requests.get(&new.fingerprint).filter(|_| !new.force) {
                created.push(Created::Existing(run.clone()));
                continue;
            }
            requests.insert(new.fingerprint.clone(), new.run.clone());
            created.push(Created::New);
        }
        Ok(created)
    }

    async fn lock_runs(
        &mut self,
        runs: &BTreeSet<RunId>,
    ) -> Result<BTreeMap<RunId, u64>, StoreError> {
        let there = runs.iter().filter_map(|run| self.state.runs.get(run));
        Ok(there
            .map(|rows| (rows.run.id.clone(), rows.run.revision))
            .collect())
    }

    async fn load_views(&mut self, runs: &BTreeSet<RunId>) -> Result<Vec<ViewRows>, StoreError> {
        let there = runs.iter().filter_map(|run| self.state.runs.get(run));
        Ok(there.map(|rows| rows.view()).collect())
    }

    async fn load_steps(
        &mut self,
        wanted: &[(RunId, StepSet)],
    ) -> Result<Vec<(RunId, Step)>, StoreError> {
        let mut steps = Vec::new();
        for (run, which) in wanted {
            let rows = self.state.runs.get(run);
            let of_run = rows.map(|rows| rows.load(which)).unwrap_or_default();
            steps.extend(of_run.into_iter().map(|step| (run.clone(), step)));
        }
        Ok(steps)
    }

    async fn load_outputs(
        &mut self,
        wanted: &[(RunId, Vec<String>)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, StoreError> {
        let mut outputs = BTreeMap::new();
        for (run, nodes) in wanted {
            let Some(rows) = self.state.runs.get(run) else {
                continue;
            };
            let known = nodes.iter().filter(|node| rows.has_steps(node));
            let of_run = known.map(|node| (node.clone(), rows.output(node)));
            outputs.insert(run.clone(), of_run.collect());
        }
        Ok(outputs)
    }

    async fn load_checkpoints(
        &mut self,
        steps: &[(RunId, StepId)],
    ) -> Result<Vec<(RunId, StepId, Checkpoint)>, StoreError> {
        let found = steps.iter().filter_map(|(run, step)| {
            let checkpoint = self.state.runs.get(run)?.checkpoint(step)?;
            Some((run.clone(), step.clone(), checkpoint.clone()))
        });
        Ok(found.collect())
    }

    async fn waiting(
        &mut self,
        run: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        Ok(self.state.waiting(run, limit))
    }

    async fn session_is_live(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        Ok(self.store.shared.lives(session) == Some(true))
    }

    async fn running_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, StoreError> {
        let runs = self.state.runs.values();
        Ok(runs.flat_map(|rows| rows.running_of(session)).collect())
    }

    async fn session_is_dead(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        Ok(self.store.shared.lives(session) == Some(false))
    }

    async fn end_session(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        let mut runs = self.state.runs.values();
        if runs.any(|rows| !rows.running_of(session).is_empty()) {
            let why = format!("{session} cannot end while it runs something");
            return Err(StoreError::Corrupt(why));
        }
        self.ended.push(session.clone());
        Ok(lock(&self.store.shared.sessions).contains_key(session))
    }

    async fn save(&mut self, changes: Vec<(RunId, Changes)>) -> Result<(), StoreError> {
        for (run, changes) in &changes {
            let now = self.now;
            if let (true, Some(new)) = (changes.created, &changes.run) {
                if !self.state.definitions.contains_key(&new.definition) {
                    let why = format!("there is no definition {}", new.definition);
                    return Err(StoreError::Corrupt(why));
                }
                let rows = Arc::new(Rows::new(new, &changes.nodes));
                self.state.runs.insert(run.clone(), rows);
            }
            let rows = self.state.rows_mut(run)?;
            let before = rows.run.fingerprint.clone();
            rows.apply(changes, now);
            if let (Some(amended), Some(_)) = (&changes.run, &changes.amendments) {
                self.state.find_anew(&before);
                self.state.find_anew(&amended.fingerprint);
            }
            self.state.share(run, changes);
        }
        Ok(())
    }

    async fn snapshot(&mut self, run: &RunId) -> Result<Snapshot, StoreError> {
        Ok(self.state.rows(run)?.snapshot())
    }

    async fn save_plan(&mut self, plan: &RetryPlan) -> Result<(), StoreError> {
        self.state.rows_mut(&plan.job)?.save_plan(plan);
        Ok(())
    }

    async fn load_plan(&mut self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        let rows = self.state.runs.get(run);
        Ok(rows.and_then(|rows| rows.plans.last().cloned()))
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        (*self).make().await
    }
}
