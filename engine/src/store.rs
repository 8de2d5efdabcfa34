//! The port to the database that holds the truth.
//!
//! Stores do, they never decide: each method is a domain verb, and every rule about what follows
//! what is in [`machine`](crate::machine). One conformance suite
//! (`telecine-testkit::conformance::store`) defines the semantics for every implementation.

mod feed;
mod listing;
mod outline;
pub mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::activity::{Checkpoint, Growth, MediaSpan, Progress, PublicationMove, Usage};
use crate::id::{PlanId, RunId, SessionId, StepId};
use crate::machine::Changes;
use crate::objects::{ObjectError, ObjectStore, StoredArtifact};
use crate::queue::{Capability, Free, Kind, Machine, Waiting};
use crate::retry::plan::RetryPlan;
use crate::retry::reuse::Made;
use crate::run::{
    Amendments, Attempt, AttemptOutcome, Failure, Node, RecordedEvent, Run, Running, Snapshot,
    Step, StoreUrls,
};

pub use feed::{FeedEvent, FeedPlace};
pub use listing::{Look, Paging, Path, RUNS_LOOKED_AT, RunFilter, RunPage};
pub use outline::{Cut, HEAD_STEPS, Outline, PlanHead, Stretch, Window};

/// What went wrong, by meaning.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The attempt that writes is no longer the one that runs the step: it lost its lease, or the
    /// run was cancelled. Nothing was written. The attempt must stop.
    #[error("step {step} of {run} belongs to another attempt now")]
    Fenced {
        /// The run.
        run: RunId,
        /// The step.
        step: StepId,
    },
    /// There is no such run.
    #[error("there is no job {0}")]
    NoRun(RunId),
    /// The disk or the quota of the database is full.
    #[error("the database cannot grow: {0}")]
    Full(String),
    /// The database was written by a newer version, or is none of ours.
    #[error("the database cannot be used: {0}")]
    Incompatible(String),
    /// Somebody else changed the same rows at the same time; nothing was written, and doing the same
    /// again is right.
    #[error("another transaction came in between: {0}")]
    Contended(String),
    /// Nobody answers where the database should be: it is being restarted, or the way to it is broken.
    /// What was asked for may have been done. It comes back by itself or is brought back by people, so
    /// that waiting is right.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database answered with an error; trying again may help.
    #[error("the database failed: {0}")]
    Unavailable(String),
    /// What the database holds makes no sense.
    #[error("the database holds something unexpected: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same may be done again by itself, for as long as it takes.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Contended(_))
    }
}

/// The attempt that writes: the step, and the fence of its claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The step's fence when it was claimed.
    pub fence: u64,
}

/// A definition as it is stored: immutable, known by its digest.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinitionRecord {
    /// `sha256:...` of the canonical form.
    pub digest: String,
    /// Name of the workflow.
    pub name: String,
    /// Version that its author gave it.
    pub version: u32,
    /// Canonical JSON.
    pub canonical: String,
}

/// Which steps a worker wants.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Who claims; must be live.
    pub session: SessionId,
    /// Only steps of this run.
    pub run: Option<RunId>,
    /// The worker's machine.
    pub machine: Machine,
    /// What is free of it; shared by all requests of the worker.
    pub free: Free,
    /// Activities that the worker has, as `name@version`; others stay unclaimed.
    pub activities: Vec<String>,
}

/// A step that was claimed, with everything an attempt needs.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What every write of the attempt carries.
    pub fence: Fence,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The round of its run.
    pub round: u32,
    /// `media.probe@1`.
    pub activity: String,
    /// What it waited as, which says what it takes of the machine.
    pub kind: Kind,
    /// Rendered `with`.
    pub input: Value,
    /// Digest of the run's definition, for its timeouts.
    pub definition: String,
    /// Stores of the run.
    pub stores: StoreUrls,
    /// The latest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Keys of objects that the checkpoint names and that are gone or have other bytes: the attempt makes
    /// them again. Only of an activity that [mends](crate::activity::Activity::MENDS).
    pub damaged: Vec<String>,
    /// How long ago the step was claimed for the first time; counts towards its total time.
    pub age: Duration,
}

/// A checkpoint on its way to the store.
#[derive(Debug, Clone)]
pub struct NewCheckpoint {
    /// What the activity stored.
    pub content: Content,
    /// What it covers in media time.
    pub covers: Option<MediaSpan>,
    /// What makes it usable; see [`Checkpoint::compat`].
    pub compat: String,
    /// Objects it stands on that no earlier checkpoint named.
    pub artifacts: Vec<StoredArtifact>,
}

/// The value of a checkpoint on its way to the store.
#[derive(Debug, Clone)]
pub enum Content {
    /// All of it.
    Whole(Value),
    /// What it says that the step's checkpoint of that number did not.
    Grown {
        /// Number of the checkpoint that it grows from: the latest.
        from: u64,
        /// What is new.
        by: Growth,
    },
}

/// Adds to checkpoints as they were written whole what they grew by since: the growths of a step in the
/// order in which they were saved. Those of other steps are passed over.
///
/// # Errors
/// [`StoreError::Corrupt`] if a growth is not one of its checkpoint.
pub fn grow(
    checkpoints: &mut [(RunId, StepId, Checkpoint)],
    growths: impl IntoIterator<Item = (RunId, StepId, Growth)>,
) -> Result<(), StoreError> {
    let mut growing: HashMap<_, &mut Value> = checkpoints
        .iter_mut()
        .map(|(run, step, checkpoint)| ((run.clone(), step.clone()), &mut checkpoint.value))
        .collect();
    for (run, step, by) in growths {
        if let Some(value) = growing.get_mut(&(run, step)) {
            let grown = by.apply(value);
            grown.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
    }
    Ok(())
}

/// A session: one start of one worker process.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// For people: host and process id.
    pub name: String,
    /// When its lease ends unless it is renewed.
    pub expires_at: DateTime<Utc>,
}

/// What is known of another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its lease ends after so long, unless it is renewed.
    Leased(Duration),
    /// Its lease is over: its process is gone or stands still, or could not reach the database.
    Lapsed,
    /// There is proof that its process is gone.
    Gone,
}

/// A run to be created, with its nodes and steps.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The run, as queued.
    pub run: Run,
    /// Its nodes in the order of the definition.
    pub nodes: Vec<Node>,
    /// Its known steps.
    pub steps: Vec<Step>,
}

/// A run that is about to be made, and the request that it would be the answer to.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The run.
    pub run: RunId,
    /// Of the request.
    pub fingerprint: String,
    /// Made even if there is a run of the same fingerprint, which it takes the request from.
    pub force: bool,
}

impl Admission {
    /// What a new run asks for.
    #[must_use]
    pub fn of(run: &Run, force: bool) -> Self {
        Self {
            run: run.id.clone(),
            fingerprint: run.fingerprint.clone(),
            force,
        }
    }
}

/// What changes were prepared on, without having asked the store whether it is so.
#[derive(Debug, Clone, Default)]
pub struct Premises {
    /// When they were prepared, by what is known of the database's clock.
    pub now: DateTime<Utc>,
    /// Sessions that are [live](Transaction::session_is_live).
    pub sessions: BTreeSet<SessionId>,
    /// Runs that can be [admitted](Transaction::admit_runs).
    pub admissions: Vec<Admission>,
    /// The revisions at which runs are.
    pub runs: BTreeMap<RunId, u64>,
}

impl Premises {
    /// Writes changes as [`Store::save_if`] does, in a transaction that has just begun.
    ///
    /// # Errors
    /// The same.
    pub async fn save(
        &self,
        mut tx: Box<dyn Transaction>,
        changes: Vec<(RunId, Changes)>,
    ) -> Result<DateTime<Utc>, StoreError> {
        self.hold(tx.as_mut()).await?;
        let now = tx.now().await?;
        tx.save(changes).await?;
        tx.commit().await?;
        Ok(now)
    }

    /// Takes the locks in a transaction with which all of it stays so.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if something is not so.
    pub async fn hold(&self, tx: &mut dyn Transaction) -> Result<(), StoreError> {
        let fails = |what| Err(StoreError::Contended(format!("{what} meanwhile")));
        for session in &self.sessions {
            if !tx.session_is_live(session).await? {
                return fails("a session has ended");
            }
        }
        if !self.admissions.is_empty() {
            let admitted = tx.admit_runs(&self.admissions).await?;
            if admitted.iter().any(|created| *created != Created::New) {
                return fails("a request was made");
            }
        }
        if !self.runs.is_empty() {
            let runs = self.runs.keys().cloned().collect();
            if tx.lock_runs(&runs).await? != self.runs {
                return fails("a run was changed");
            }
        }
        Ok(())
    }
}

/// Whether a submission made a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It did.
    New,
    /// A run of the same fingerprint, or of the same request key, is there; nothing was written.
    Existing(RunId),
    /// The request key belongs to another request; nothing was written.
    KeyReused,
}

/// A name that a caller chose for a request, so that sending it again is no second request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The name; of one caller.
    pub key: String,
    /// What tells this request from another one.
    pub digest: String,
}

/// What a [`RequestKey`] stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenKey {
    /// The run that the request made or found.
    pub run: RunId,
    /// The digest that came with it.
    pub digest: String,
}

/// As it is stored: the run, and the digest.
impl From<(String, String)> for TakenKey {
    fn from((run, digest): (String, String)) -> Self {
        Self {
            run: run.into(),
            digest,
        }
    }
}

/// Something whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// A step in backoff can run again.
    Backoff(RunId, StepId),
    /// A running attempt is past its deadline.
    Deadline(Fence),
}

/// An attempt that ended, for its row.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    /// Its step.
    pub step: StepId,
    /// Its number.
    pub n: u32,
    /// The round it belongs to.
    pub round: u32,
    /// How it began.
    pub began: Running,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it used.
    pub usage: Usage,
}

impl AttemptEnd {
    /// The end of the attempt that runs a step, if one does.
    #[must_use]
    pub fn of(
        step: &Step,
        outcome: AttemptOutcome,
        (error, usage): (Option<&Failure>, Usage),
    ) -> Option<Self> {
        Some(Self {
            step: step.id.clone(),
            n: step.attempts,
            round: step.round,
            began: step.running.as_deref()?.clone(),
            outcome,
            error: error.cloned(),
            usage,
        })
    }

    /// The attempt, which ended at that time.
    #[must_use]
    pub fn attempt(&self, at: DateTime<Utc>) -> Attempt {
        Attempt {
            n: self.n,
            round: self.round,
            outcome: Some(self.outcome),
            worker: self.began.session.clone(),
            started_at: self.began.claimed_at,
            ended_at: Some(at),
            usage: Some(self.usage),
            resumed_from: self.began.resumed_from,
            error: self.error.clone(),
        }
    }
}

/// What a fold starts from.
#[derive(Debug, Clone)]
pub struct ViewRows {
    /// Header of the run.
    pub run: Run,
    /// All nodes, in the order of the definition.
    pub nodes: Vec<Node>,
    /// What executed plans changed in it.
    pub amendments: Amendments,
}

/// What an attempt that succeeded reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What the activity returned.
    pub output: Value,
    /// What it put into the store.
    pub artifacts: Vec<StoredArtifact>,
    /// Things the user should know.
    pub warnings: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// How far it was in the end, if it said so.
    pub progress: Option<Progress>,
    /// What its reuse key is made of, if its activity names its tools.
    pub made: Option<Box<Made>>,
    /// Under which key other runs find it, if they may.
    pub shared: Option<Box<Shared>>,
}

/// The key under which other runs find what a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Digest of the step's [reuse key](crate::retry::reuse::ReuseKey).
    pub key: String,
    /// Address of the store of results: runs of another one find nothing.
    pub media: String,
    /// Digest of key, size and etag of each of its objects, as they were.
    pub seal: String,
}

/// A step that made what another would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharer {
    /// Its run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// See [`Shared::seal`].
    pub seal: String,
}

/// A generation of a name, and where its objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The name.
    pub name: String,
    /// Its number.
    pub n: u64,
    /// The run that it belongs to.
    pub run: RunId,
    /// Address of the media store.
    pub store: String,
    /// What the keys of its objects are like, with `*` for anything.
    pub keys: String,
    /// When the run ended.
    pub ended_at: DateTime<Utc>,
    /// Whether the run has published it.
    pub published: bool,
}

impl Generation {
    /// Keys of its objects in the media store.
    ///
    /// # Errors
    /// What the media store says.
    pub async fn list(&self, media: &dyn ObjectStore) -> Result<Vec<String>, ObjectError> {
        let (start, end) = self.keys.split_once('*').unwrap_or((&self.keys, ""));
        let listed = media.list(start).await?.into_iter().map(|(key, _)| key);
        let own = listed.filter(|key| key.starts_with(start) && key.ends_with(end));
        Ok(own.collect())
    }
}

/// The database that holds the truth.
///
/// # Contract
///
/// * What a method has written is durable when it returns. Deadlines and progress are of the attempt
///   that runs: they outlive its process, and may be lost with the power of the machine.
/// * A state change and its events are one transaction.
/// * Writes of an attempt carry its [`Fence`] and change nothing once the step is not `running`
///   under that fence; they answer [`StoreError::Fenced`].
/// * Times are the database's.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Keeps a definition; the same digest again changes nothing.
    async fn save_definition(&self, definition: &DefinitionRecord) -> Result<(), StoreError>;

    /// The definition of that digest.
    async fn load_definition(&self, digest: &str) -> Result<Option<DefinitionRecord>, StoreError>;

    /// Begins a transaction that folds commands into runs. Transactions on the same run are
    /// serialised.
    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Writes changes as a transaction of their own, if what they were prepared on holds, and answers the
    /// database's clock. The same as to ask for all of it in a transaction, [save](Transaction::save) and
    /// commit, which is what it does unless the store knows a shorter way.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if something does not hold: nothing has happened.
    async fn save_if(
        &self,
        premises: &Premises,
        changes: Vec<(RunId, Changes)>,
    ) -> Result<DateTime<Utc>, StoreError> {
        premises.save(self.begin().await?, changes).await
    }

    /// How many transactions a process should have under way at once. A store that lets others write while a commit becomes
    /// durable, or makes ready what is to be written while another one writes, says 2; with one that does not, the
    /// second would only wait.
    fn transactions_at_once(&self) -> usize {
        1
    }

    /// The same as [`Transaction::waiting`], outside of a transaction; waits for no writer.
    async fn waiting(&self, run: Option<&RunId>, limit: usize) -> Result<Vec<Waiting>, StoreError>;

    /// How many steps wait, by kind.
    async fn count_waiting(&self) -> Result<Vec<(Kind, u64)>, StoreError>;

    /// Sets the deadline of a running attempt, counted from the database's now.
    async fn set_deadline(&self, fence: &Fence, after: Duration) -> Result<(), StoreError>;

    /// Saves the progress of running attempts; answers those that no longer own their step.
    async fn save_progress(&self, progress: &[(Fence, Progress)])
    -> Result<Vec<Fence>, StoreError>;

    /// Makes a checkpoint the step's latest, with its artifacts and a `step.checkpoint` event, and
    /// clears the step's losses and outages. One that [grew](Content::Grown) is written as what is new and read
    /// as a whole; it is refused as [`StoreError::Corrupt`] if it does not grow from the latest.
    async fn save_checkpoint(
        &self,
        fence: &Fence,
        checkpoint: &NewCheckpoint,
    ) -> Result<u64, StoreError>;

    /// Records that a running attempt cannot go on from the checkpoint it was claimed with: the
    /// checkpoint and what only it stands on are forgotten, the attempt has not resumed, and a
    /// `step.checkpoint_dropped` event says so.
    async fn refuse_checkpoint(&self, fence: &Fence) -> Result<(), StoreError>;

    /// The generation of `name` that belongs to the run: allocated on the first call, one above
    /// every earlier one of that name and above `above`, and the same on later calls of the same
    /// run. `keys` says, once that is certain, what the keys are like of objects that are the run's alone, with
    /// `{n}` for its number and `*` for anything.
    async fn allocate_generation(
        &self,
        fence: &Fence,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, StoreError>;

    /// Generations of runs that ended at least `age` ago and have not been [swept](Self::swept) since, so many of those
    /// behind another one, in the order of name and number. Of a run that published, none that did not succeed in its
    /// first round: what it showed may be what caches still lead to.
    async fn unswept(
        &self,
        age: Duration,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError>;

    /// Notes that a generation has been swept, unless its run has gone on since.
    async fn swept(&self, generation: &Generation) -> Result<(), StoreError>;

    /// Runs that ended at least `age` ago and never published anything, so many of those behind another one, in the
    /// order of their ids. None that is held: it waits for people.
    async fn expired(
        &self,
        age: Duration,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError>;

    /// Forgets those of these runs that are [expired](Self::expired), with everything that is known of them, and answers
    /// which they are. What stays is the numbers of their generations, which nobody else gets, and where objects are of
    /// those that did not succeed: they are [abandoned](Self::abandoned).
    async fn forget(&self, runs: &[RunId], age: Duration) -> Result<Vec<RunId>, StoreError>;

    /// Generations of forgotten runs whose objects are to go, so many of those behind another one, in the order of name
    /// and number.
    async fn abandoned(
        &self,
        after: Option<&Generation>,
        limit: usize,
    ) -> Result<Vec<Generation>, StoreError>;

    /// Notes that there is nothing left to do about an abandoned generation.
    async fn cleared(&self, generation: &Generation) -> Result<(), StoreError>;

    /// Drops those of the `limit` oldest entries of the feed of which all events are `age` old or forgotten, but never the
    /// newest entry; answers how many.
    async fn trim_feed(&self, age: Duration, limit: usize) -> Result<usize, StoreError>;

    /// Makes `generation` current for `name`, with a `publication.moved` event, unless it or a later
    /// one is current already.
    async fn publish(
        &self,
        fence: &Fence,
        name: &str,
        generation: u64,
    ) -> Result<PublicationMove, StoreError>;

    /// The current generation of `name`.
    async fn publication(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// Steps of a run that made one of its generations the current one: readers have seen what led
    /// to them.
    async fn published_by(&self, run: &RunId) -> Result<BTreeSet<StepId>, StoreError>;

    /// Registers a session that lives for `lease` from now.
    async fn open_session(
        &self,
        id: &SessionId,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError>;

    /// Says what a session can run; forgotten with the session.
    async fn offer(&self, id: &SessionId, offer: &Capability) -> Result<(), StoreError>;

    /// What sessions can run that have not been ended.
    async fn offers(&self) -> Result<Vec<Capability>, StoreError>;

    /// Renews a session's lease; `false` if it was ended: the process must stop its attempts. Waits
    /// for no transaction of this process: a busy writer is not dead.
    async fn renew_session(&self, id: &SessionId, lease: Duration) -> Result<bool, StoreError>;

    /// Sessions other than `except` that have not been ended, and what is known of each.
    async fn other_sessions(&self, except: &SessionId) -> Result<Vec<(Session, Life)>, StoreError>;

    /// How soon there may be proof that the process of a session is gone; `None` if nothing but its
    /// lease tells.
    fn proof_within(&self) -> Option<Duration>;

    /// Returns when renewing a session has shown that another one may be gone, which
    /// [`Store::other_sessions`] tells. Never does where renewing shows nothing.
    async fn suspicion(&self) {
        std::future::pending().await
    }

    /// Steps whose backoff or deadline is over, oldest first.
    async fn due(&self, limit: usize) -> Result<Vec<Due>, StoreError>;

    /// How long until the next backoff or deadline is over, if there is one.
    async fn next_due_in(&self) -> Result<Option<Duration>, StoreError>;

    /// The header of a run.
    async fn load_run(&self, run: &RunId) -> Result<Option<Run>, StoreError>;

    /// What a request key stands for, if it was taken.
    async fn find_key(&self, key: &str) -> Result<Option<TakenKey>, StoreError>;

    /// The latest run of a fingerprint.
    async fn find_run(&self, fingerprint: &str) -> Result<Option<RunId>, StoreError>;

    /// A page of headers of runs, newest first. However many runs there are, it looks at no more than
    /// [`RUNS_LOOKED_AT`].
    async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError>;

    /// A run with everything in it, as one transaction sees it.
    async fn snapshot(&self, run: &RunId) -> Result<Snapshot, StoreError>;

    /// A run with the steps of a window, as one transaction sees it. Of others, nothing is read.
    async fn outline(&self, run: &RunId, window: &Window) -> Result<Outline, StoreError>;

    /// Events of a run after `after`, in order, at most `limit`.
    async fn events(
        &self,
        run: &RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError>;

    /// Events of all runs behind a place, at most `limit`, in an order that is the same for everybody: what
    /// is committed later is behind what was shown before, and those of a run are in theirs.
    async fn feed(&self, after: FeedPlace, limit: usize) -> Result<Vec<FeedEvent>, StoreError>;

    /// The place behind all events that are shown now.
    async fn feed_end(&self) -> Result<FeedPlace, StoreError>;

    /// The latest retry plan of a run.
    async fn load_plan(&self, run: &RunId) -> Result<Option<RetryPlan>, StoreError>;

    /// A plan of any run, whatever has become of it; `None` of one that was superseded long ago.
    async fn find_plan(&self, plan: &PlanId) -> Result<Option<RetryPlan>, StoreError>;

    /// Plans whose objects nobody has looked at, and their runs, the latest first: at most `limit`.
    async fn unproved_plans(&self, limit: usize) -> Result<Vec<(PlanId, RunId)>, StoreError>;

    /// The latest retry plan of a run with its first steps only: of one of 100,000 steps, no more is read.
    async fn plan_head(&self, run: &RunId) -> Result<Option<PlanHead>, StoreError>;

    /// The step that last shared what it made under a key, for runs with that store of results. Keys are
    /// known that were shared among the latest [`REUSE_KEYS`](crate::limits::REUSE_KEYS) times, those of one
    /// key counted each. The step may have been made again since.
    async fn find_shared(&self, key: &str, media: &str) -> Result<Option<Sharer>, StoreError>;

    /// A number that differs whenever another connection or process has committed since: as long as
    /// it stays the same, nothing needs to be read again. It may differ for less than that.
    async fn change_counter(&self) -> Result<i64, StoreError>;

    /// The number of the schema, if a newer release than this has brought the database up to date meanwhile. This one
    /// goes on, as the releases next to each other can; it could not start again.
    async fn newer_schema(&self) -> Result<Option<i64>, StoreError>;
}

/// One transaction over a few runs. Dropped without [`Transaction::commit`], nothing has happened.
#[async_trait]
pub trait Transaction: Send {
    /// The database's clock.
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError>;

    /// Takes a request key for a run that is about to be made, unless it was taken before. Answers
    /// what it stands for then. Another transaction that wants the same key waits until this one
    /// ends.
    async fn take_key(&mut self, key: &RequestKey, run: &RunId) -> Result<TakenKey, StoreError>;

    /// Gives a key that was taken in this transaction to the run that its request found.
    async fn give_key(&mut self, key: &RequestKey, run: &RunId) -> Result<(), StoreError>;

    /// Takes the fingerprints of runs that are about to be made, each unless a run of the same
    /// fingerprint is there and nothing is [forced](Admission::force). One answer each, in order; those that are
    /// [`Created::New`] are in the store once their [`Changes`] were saved. Once per transaction.
    async fn admit_runs(&mut self, new: &[Admission]) -> Result<Vec<Created>, StoreError>;

    /// Locks runs, in the order of their ids, until the transaction ends, and answers the
    /// [revision](Run::revision) of each that is there: whoever has a run as of that revision need not
    /// load it.
    async fn lock_runs(
        &mut self,
        runs: &BTreeSet<RunId>,
    ) -> Result<BTreeMap<RunId, u64>, StoreError>;

    /// Loads headers and nodes of runs that were locked.
    async fn load_views(&mut self, runs: &BTreeSet<RunId>) -> Result<Vec<ViewRows>, StoreError>;

    /// Loads steps of runs whose views were loaded, as far as they exist: run by run in the order
    /// asked for, the steps of each in the order of the definition and of its lists.
    async fn load_steps(
        &mut self,
        wanted: &[(RunId, StepSet)],
    ) -> Result<Vec<(RunId, Step)>, StoreError>;

    /// Outputs of settled nodes: the output of a single step, the list of outputs of a fan-out in
    /// the order of its list, `null` for each step without one. Nodes without steps are left out.
    async fn load_outputs(
        &mut self,
        wanted: &[(RunId, Vec<String>)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, StoreError>;

    /// The latest checkpoints of steps, as far as they have one.
    async fn load_checkpoints(
        &mut self,
        steps: &[(RunId, StepId)],
    ) -> Result<Vec<(RunId, StepId, Checkpoint)>, StoreError>;

    /// Ready steps, in no order: of each kind the first `limit` by rank, run, and the order of the
    /// definition and of its lists. However many wait, it reads no more rows than it answers. Of one
    /// run: its first `limit` steps by the order of the definition and of its lists, whatever their
    /// kind and rank.
    ///
    /// Their runs need not be locked: who wants to claim them locks the runs and looks at the steps
    /// again.
    async fn waiting(
        &mut self,
        run: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError>;

    /// Whether a session has neither been ended nor outlived its lease. It cannot be ended before
    /// this transaction ends.
    async fn session_is_live(&mut self, session: &SessionId) -> Result<bool, StoreError>;

    /// Running attempts of a session, which can claim nothing more until the transaction ends.
    async fn running_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, StoreError>;

    /// Whether a session is there and is not [leased](Life::Leased) any more: asked again where it is
    /// ended, because it may have been renewed meanwhile.
    async fn session_is_dead(&mut self, session: &SessionId) -> Result<bool, StoreError>;

    /// Removes a session, and answers whether it was there; its running steps must have been released in
    /// this transaction.
    async fn end_session(&mut self, session: &SessionId) -> Result<bool, StoreError>;

    /// Writes what the machine changed in runs: rows, attempts, artifacts, events. A step without
    /// an input keeps the one it has; so does one without progress, unless it is among those whose
    /// progress is [cleared](Changes::cleared).
    async fn save(&mut self, changes: Vec<(RunId, Changes)>) -> Result<(), StoreError>;

    /// The whole run, changes of this transaction included.
    async fn snapshot(&mut self, run: &RunId) -> Result<Snapshot, StoreError>;

    /// Makes a plan the run's latest; earlier ones that were only proposed become superseded, of which
    /// the latest [`SUPERSEDED_PLANS`](crate::limits::SUPERSEDED_PLANS) are kept. A plan of the same id is replaced.
    async fn save_plan(&mut self, plan: &RetryPlan) -> Result<(), StoreError>;

    /// The run's latest plan.
    async fn load_plan(&mut self, run: &RunId) -> Result<Option<RetryPlan>, StoreError>;

    /// Makes everything durable.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// Which steps of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum StepSet {
    /// None.
    Empty,
    /// This one.
    One(StepId),
    /// All that are not settled.
    Unsettled,
    /// All.
    All,
}
