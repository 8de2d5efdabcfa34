//! What is persisted of one execution of a workflow: run, node, step, attempt, event.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activity::{ErrorClass, MediaSpan, Progress, Usage};
use crate::id::{RunId, SessionId, StepId};
use crate::limits;
use crate::objects::StoredArtifact;
use crate::queue::Queue;
use crate::retry::edits::put;
use crate::retry::reuse::Made;

/// Declares a status enum whose names are the same in JSON, in stores and for people.
macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used in JSON and in stores.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value of that name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

status! {
    /// State of a run.
    RunStatus {
        /// Accepted; no step has been claimed yet. The first claim moves it on.
        Queued = "queued",
        /// Steps are running or can run.
        Running = "running",
        /// Nothing can advance without a decision: a step is held and has a retry plan.
        /// Executing the plan moves it on.
        Held = "held",
        /// Every step is settled and none that matters failed. Final.
        Succeeded = "succeeded",
        /// A step failed for good and nothing else can advance. Executing the plan reopens it.
        Failed = "failed",
        /// Somebody cancelled it. Executing the plan reopens it.
        Cancelled = "cancelled",
    }
}

impl RunStatus {
    /// Whether nothing moves until somebody acts.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

status! {
    /// State of a step.
    StepStatus {
        /// Waits for the steps that it needs.
        Pending = "pending",
        /// Can be claimed.
        Ready = "ready",
        /// Claimed by a session; ended by its result, its deadline or the session's end.
        Running = "running",
        /// Failed; becomes ready again at `due_at`.
        Backoff = "backoff",
        /// Waits for a person: retries did not help. A retry plan moves it on.
        Held = "held",
        /// Done; has an output.
        Succeeded = "succeeded",
        /// Failed for good in this round.
        Failed = "failed",
        /// Not wanted: its `when` was false, or what it needs was skipped. Has a reason.
        Skipped = "skipped",
        /// Cannot run: a step that it needs failed for good.
        Blocked = "blocked",
        /// The run was cancelled before it was done.
        Cancelled = "cancelled",
    }
}

impl StepStatus {
    /// Whether the step moves no more in this round.
    #[must_use]
    pub fn is_settled(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Ready | Self::Running | Self::Backoff
        )
    }
}

status! {
    /// How an attempt ended.
    AttemptOutcome {
        /// The step has its output.
        Succeeded = "succeeded",
        /// The activity answered with an error, crashed, stalled or took too long.
        Failed = "failed",
        /// The session that ran it died. Not charged to `max_attempts`.
        Lost = "lost",
        /// The worker shut down and gave the step back. Not charged.
        Released = "released",
        /// The run was cancelled. Not charged.
        Cancelled = "cancelled",
    }
}

/// Why a run or a step failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose move it is.
    pub class: ErrorClass,
    /// Stable, `snake_case`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The step it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
}

/// The stores that a run reads and writes, by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreUrls {
    /// Where the source is (`file:///dir`).
    pub source: String,
    /// Where results go.
    pub media: String,
}

/// One execution of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of its definition.
    pub version: u32,
    /// Digest of its definition; the run keeps it whatever is installed later.
    pub definition: String,
    /// State.
    pub status: RunStatus,
    /// 1 for the first execution; each executed retry plan starts the next.
    pub round: u32,
    /// Grows with each change of the run, its nodes and its steps, and with each checkpoint; not with
    /// the progress and the deadlines of attempts.
    pub revision: u64,
    /// Events that it has so far; numbers them.
    pub events: u64,
    /// Validated input.
    pub input: Value,
    /// What makes two submissions the same request.
    pub fingerprint: String,
    /// Stores of the run.
    pub stores: StoreUrls,
    /// Where its steps wait, unless the definition says otherwise.
    pub queue: Queue,
    /// Of its steps, unless the definition says otherwise; higher goes first.
    pub priority: i32,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// Rendered output, once succeeded.
    pub output: Option<Value>,
    /// Why it stopped short.
    pub error: Option<Failure>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first step was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it stopped.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A step of the definition within a run: the counters that make a fan-out of 100,000 steps as
/// cheap to fold as a single step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name in the definition.
    pub name: String,
    /// `pending` until everything it needs is settled, `ready` while its steps are worked on,
    /// then the state it settled in.
    pub status: StepStatus,
    /// Number of its steps; `None` until the list of `for_each` is known.
    pub total: Option<u32>,
    /// How many of them are settled.
    pub settled: u32,
    /// How many of those failed for good or are blocked.
    pub failed: u32,
    /// How many of those are held.
    pub held: u32,
    /// Why it was skipped, blocked or failed as a whole.
    pub reason: Option<String>,
}

impl Node {
    /// A node whose needs are not settled. `fan_out` leaves the number of steps open.
    #[must_use]
    pub fn pending(name: &str, fan_out: bool) -> Self {
        Self {
            name: name.to_owned(),
            status: StepStatus::Pending,
            total: if fan_out { None } else { Some(1) },
            settled: 0,
            failed: 0,
            held: 0,
            reason: None,
        }
    }
}

/// A step of a run. There are up to 100,000 of them in memory at once, so what few of them have is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which one.
    pub id: StepId,
    /// `media.probe@1`.
    pub activity: String,
    /// State.
    pub status: StepStatus,
    /// Rendered `with`; `None` until it is ready.
    pub input: Option<Value>,
    /// What the activity returned.
    pub output: Option<Value>,
    /// Why its last attempt failed.
    pub error: Option<Box<Failure>>,
    /// Why it was skipped, blocked or held.
    pub reason: Option<String>,
    /// Grows with each claim; every write of an attempt carries it.
    pub fence: u64,
    /// Attempts made, over all rounds; numbers the attempts.
    pub attempts: u32,
    /// Attempts charged to `max_attempts` in this round.
    pub charged: u32,
    /// Losses in a row without a new checkpoint in between, in this round.
    pub losses: u32,
    /// Failures of services in a row that were not charged, without a new checkpoint in between, in this round.
    #[serde(default)]
    pub outages: u32,
    /// Failures in a row that continued from, or came after, the latest checkpoint.
    pub checkpoint_failures: u32,
    /// Who runs it, and since when.
    pub running: Option<Box<Running>>,
    /// When a step in backoff becomes ready.
    pub due_at: Option<DateTime<Utc>>,
    /// When the running attempt must have ended; any process enforces it.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Last saved progress of the running or last attempt.
    pub progress: Option<Box<Progress>>,
    /// Number and span of the latest checkpoint.
    pub checkpoint: Option<Box<CheckpointHead>>,
    /// Things the user should know.
    pub warnings: Vec<String>,
    /// Round in which it last changed.
    pub round: u32,
    /// First claim.
    pub started_at: Option<DateTime<Utc>>,
    /// When it settled.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What is known of an attempt while it runs. Its row is written once it has ended, with what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The session that runs it.
    pub session: SessionId,
    /// When it was claimed.
    pub claimed_at: DateTime<Utc>,
    /// Number of the checkpoint that it goes on from.
    pub resumed_from: Option<u64>,
}

impl Step {
    /// The attempt that runs it.
    #[must_use]
    pub fn running_attempt(&self) -> Option<Attempt> {
        let running = self.running.as_deref()?;
        Some(Attempt {
            n: self.attempts,
            round: self.round,
            outcome: None,
            worker: running.session.clone(),
            started_at: running.claimed_at,
            ended_at: None,
            usage: None,
            resumed_from: running.resumed_from,
            error: None,
        })
    }

    /// Whether its next attempt gets a worker for itself: if that one goes as well, nothing else has run
    /// beside it that could be the cause.
    #[must_use]
    pub fn runs_alone(&self) -> bool {
        self.losses >= limits::LOSSES_IN_A_ROW
    }

    /// A step that waits for what it needs.
    #[must_use]
    pub fn pending(id: StepId, activity: String, round: u32) -> Self {
        Self {
            id,
            activity,
            status: StepStatus::Pending,
            input: None,
            output: None,
            error: None,
            reason: None,
            // A fan-out that is read anew in a later round has steps of the same names: their
            // fences go on above those of every attempt that may still be running.
            fence: u64::from(round.saturating_sub(1)) << 32,
            attempts: 0,
            charged: 0,
            losses: 0,
            outages: 0,
            checkpoint_failures: 0,
            running: None,
            due_at: None,
            deadline_at: None,
            progress: None,
            checkpoint: None,
            warnings: Vec::new(),
            round,
            started_at: None,
            ended_at: None,
        }
    }
}

/// What a plan says about a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// Grows by one with each checkpoint of the step.
    pub seq: u64,
    /// What it covers in media time, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers_s: Option<MediaSpan>,
    /// The attempt that saved it.
    pub attempt: u32,
}

/// One try of a step; inserted when it is claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1, over all rounds.
    pub n: u32,
    /// Round it belongs to.
    pub round: u32,
    /// `None` while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// Session that ran it.
    pub worker: SessionId,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// CPU time and memory, child processes included.
    pub usage: Option<Usage>,
    /// Number of the checkpoint it continued from.
    pub resumed_from: Option<u64>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// One transition, appended in the transaction that made it. Never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What happened: `run.submitted`, `step.claimed`, `step.checkpoint`, ...
    pub kind: String,
    /// To which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// Facts of that kind of event.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// An event as it is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Position in the run's history, from 1.
    pub seq: u64,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// What executed plans changed in a run besides its steps. Runs that nobody retried have none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amendments {
    /// Values put into the inputs of steps: by step, or node for all of its items, then by JSON pointer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<StepId, BTreeMap<String, Value>>,
    /// Attempts that steps get in this round, by step or node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts: BTreeMap<StepId, u32>,
    /// The same for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_of_all: Option<u32>,
    /// Objects that steps are to make again, by key; until they have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<StepId, Vec<String>>,
    /// Steps that somebody left out, and nodes for all of their items; until somebody wants them back. Those
    /// that are out because of them are not here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub out: BTreeSet<StepId>,
}

impl Amendments {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Forgets what holds for a step that is to have another fate; of a whole node also what was set of
    /// single items, which would be others.
    pub(crate) fn forget(&mut self, step: &StepId) {
        if step.item.is_some() {
            self.damaged.remove(step);
            self.out.remove(step);
            return;
        }
        let others = |id: &StepId| id.node != step.node;
        self.damaged.retain(|id, _| others(id));
        self.out.retain(others);
        let stays = |id: &StepId| id.item.is_none() || others(id);
        self.set.retain(|id, _| stays(id));
        self.attempts.retain(|id, _| stays(id));
    }

    /// Attempts that a step gets in this round, if that was changed.
    #[must_use]
    pub fn attempts_of(&self, step: &StepId) -> Option<u32> {
        let of_step = self.attempts.get(step);
        let of_node = || self.attempts.get(&StepId::single(&step.node));
        of_step.or_else(of_node).copied().or(self.attempts_of_all)
    }

    /// Puts into the input of a step what was set of it.
    ///
    /// # Errors
    /// What cannot be put where it was set, as one sentence.
    pub fn apply(&self, step: &StepId, input: &mut Value) -> Result<(), String> {
        if self.set.is_empty() {
            return Ok(());
        }
        let of_node = step.item.and(self.set.get(&StepId::single(&step.node)));
        let values = of_node.into_iter().chain(self.set.get(step)).flatten();
        for (pointer, value) in values {
            put(input, pointer, value).map_err(|why| format!("{pointer} {why}"))?;
        }
        Ok(())
    }
}

/// A run with everything in it, as one transaction saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The run.
    pub run: Run,
    /// Nodes in the order of the definition.
    pub nodes: Vec<Node>,
    /// Steps in the order of the definition, items in the order of their list.
    pub steps: Vec<StepRecord>,
    /// Attempts of items that are there no longer: their list was, or will be, read anew in a later
    /// round. In order of their steps.
    pub former: Vec<(StepId, Attempt)>,
    /// What executed plans changed in it.
    pub amendments: Amendments,
}

impl Snapshot {
    /// The steps of each node.
    #[must_use]
    pub fn by_node(&self) -> BTreeMap<&str, Vec<&StepRecord>> {
        let mut records: BTreeMap<&str, Vec<&StepRecord>> = BTreeMap::new();
        for record in &self.steps {
            let of_node = records.entry(&record.step.id.node).or_default();
            of_node.push(record);
        }
        records
    }
}

/// A step with its attempts and artifacts.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// Attempts in order.
    pub attempts: Vec<Attempt>,
    /// What the step left in the media store: of its output, or of its latest checkpoint.
    pub artifacts: Vec<StoredArtifact>,
    /// What makes its latest checkpoint usable; see [`Checkpoint::compat`](crate::activity::Checkpoint).
    pub compat: Option<String>,
    /// What its reuse key is made of, once it has succeeded with an activity that names its tools.
    pub made: Option<Made>,
}

impl StepRecord {
    /// Adds the attempt that runs, unless a release before this one wrote its row when it began.
    pub fn add_running(&mut self) {
        let written = self.attempts.last().map_or(0, |last| last.n);
        let running = self.step.running_attempt();
        self.attempts
            .extend(running.filter(|running| running.n > written));
    }
}
