//! The retry plan: for a run that stopped short, what each step would do if it were tried again,
//! and why. Computed by a pure function, first in the transaction that stops the run and again whenever
//! the world has moved; executing it is bound to its digest.

mod adopted;
mod beside;
mod compute;
mod digest;
mod edited;
mod entries;
mod moot;
mod output;
mod prospect;
mod published;
mod warnings;

use serde::{Deserialize, Serialize};

use crate::id::{PlanId, RunId, StepId};
use crate::objects::Artifact;
use crate::retry::adoption::DefinitionChanges;
use crate::retry::edits::RecordedEdit;
use crate::retry::reuse::Difference;
use crate::retry::world::{Identity, Verified};
use crate::run::{CheckpointHead, Failure};

pub(crate) use compute::{Computed, Unmet, compute_checked};
pub use compute::{Given, compute};

pub use crate::retry::world::{Verdict, Verdicts};

/// What a step would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Keep its output; nothing runs.
    Reuse,
    /// Run again from its latest checkpoint.
    Resume,
    /// Run from the start.
    Rerun,
    /// Stay out.
    Skip,
    /// Cannot run: something else has to change first.
    Blocked,
}

/// Why. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It succeeded and nothing that it depends on changes.
    Succeeded,
    /// It failed in a way that may pass.
    FailedRetryable,
    /// It failed in a way that trying again cannot help.
    FailedPermanent,
    /// The worker that ran it went away.
    Lost,
    /// It was not reached.
    NeverRan,
    /// It waits for a decision.
    Held,
    /// A step that it depends on runs again.
    UpstreamChanged,
    /// A step that it depends on cannot run.
    UpstreamBlocked,
    /// Its condition was false.
    ConditionFalse,
    /// An object that it made is gone.
    ArtifactMissing,
    /// An object that it made has other bytes.
    ArtifactCorrupt,
    /// The source, or another object that it reads, has been replaced by another one.
    InputChanged,
    /// Its parameters are others: somebody set them, or another definition gives it others.
    ParamsChanged,
    /// Its activity, or a tool that it uses, is another version now: what it left cannot be continued.
    ActivityChanged,
    /// Somebody wants it to run.
    Forced,
    /// The run was cancelled before it was done.
    Cancelled,
    /// Somebody wants it to stay out, or a step that it needs.
    SkippedByOperator,
    /// Somebody gave it its output.
    SuppliedByOperator,
}

/// State of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Can be executed, if `executable`.
    Proposed,
    /// Was executed.
    Executed,
    /// A later plan took its place.
    Superseded,
}

/// An object that a step made in an earlier round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactProof {
    /// The object as it was recorded.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Whether it was found as recorded; `None` before it was checked.
    pub verified: Option<bool>,
}

/// What a reuse or a resume stands on, and what a rerun lacks that made it before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Digest of what the step was made from: see [`reuse`](crate::retry::reuse); `None` if its activity does not
    /// say what tools it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// Objects that the step made.
    pub artifacts: Vec<ArtifactProof>,
}

/// Attempts that a step has used and gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Made so far, over all rounds.
    pub used: u32,
    /// Granted by executing the plan.
    pub granted: u32,
}

/// An attempt to come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its number.
    pub attempt: u32,
    /// The pauses before it since the plan is executed, in seconds; what attempts take comes on top.
    pub after_s: f64,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step; a fan-out whose list is read again is one planned group under its node's name.
    pub id: StepId,
    /// What it would do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Steps that are the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<StepId>,
    /// Who left it out, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What a reuse or a resume stands on, and what a rerun lacks that made it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Where a resume continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointHead>,
    /// The first thing that it would be made from otherwise than it was: an object that is another one now, or
    /// what the definition of the plan gives it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Difference>,
    /// Objects that a resume makes again, by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// Its attempts, if it would run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// When they would be made if each of them failed in a way that may pass; the first ones. Empty for a
    /// fan-out whose list is read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Scheduled>,
}

impl PlannedStep {
    /// Whether it would run.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.action, Action::Resume | Action::Rerun)
    }
}

/// How many steps take each action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Kept.
    pub reuse: u32,
    /// Continued.
    pub resume: u32,
    /// Run from the start.
    pub rerun: u32,
    /// Left out.
    pub skip: u32,
    /// Unable to run.
    pub blocked: u32,
    /// What reuse saves.
    pub saved: Saved,
    /// How long the rest may take, if that is known of anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
}

/// Time that a plan does not spend again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Wall time of the reused steps' successful attempts, in seconds.
    pub wall_s: f64,
}

/// How long executing a plan may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Wall time, in seconds.
    pub wall_s: Quantiles,
    /// What it is made from.
    pub basis: EstimateBasis,
}

/// Half of the time it takes no longer than the one, and nine times in ten no longer than the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of the time.
    pub p50: f64,
    /// Nine times in ten: as if everything that runs were that slow at once.
    pub p90: f64,
}

/// What an estimate is made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateBasis {
    /// Earlier runs of the workflow.
    pub runs: u32,
    /// Attempts in those runs and in this one that are most like those to come, added up over the nodes
    /// that would run: of the same activity, and as far as there are such, with the same parameters and on
    /// machines of the same class.
    pub attempts: u32,
    /// Of those, attempts with the same parameters.
    #[serde(default)]
    pub same_parameters: u32,
    /// Of those, attempts on machines of the same class: with as many processors.
    #[serde(default)]
    pub same_machine: u32,
    /// Steps that would run and of whose activity nothing is known; they are counted as nothing.
    pub unknown: u32,
}

/// What a plan was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Revision of the run.
    pub revision: u64,
    /// Round that stopped.
    pub round: u32,
    /// `video:full@3 sha256:...`
    pub definition: String,
}

/// What trying a stopped run again would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Its id.
    pub id: PlanId,
    /// The run.
    pub job: RunId,
    /// Over basis, actions, reasons, checkpoints, damaged objects, proofs, edits, changes and what the run
    /// becomes;
    /// not over times, estimates, and whether an object that is not damaged was looked at.
    pub digest: String,
    /// State.
    pub state: PlanState,
    /// Whether executing it can bring the run to success.
    pub executable: bool,
    /// What it was computed from.
    pub basis: Basis,
    /// Numbers.
    pub summary: Summary,
    /// One entry per step, in the order of the definition.
    pub steps: Vec<PlannedStep>,
    /// What the reader should know; says what would make the plan executable.
    pub warnings: Vec<String>,
    /// What somebody wants to be otherwise.
    #[serde(default)]
    pub edits: Vec<RecordedEdit>,
    /// What another definition does to the steps, if one of the edits gives the run one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<DefinitionChanges>,
    /// What the run becomes by executing it, if its source or its definition is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// When and how its objects were looked at; `None` before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Keys of objects whose bytes were found to be wrong: whoever looks again reads them, since their size
    /// may be right. The digest covers what the steps do about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrupt: Vec<String>,
    /// Who executed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed_by: Option<String>,
}

/// A plan as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: PlanId,
    /// Its digest then.
    pub digest: String,
}

impl RetryPlan {
    /// The plan as it is shown.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            id: self.id.clone(),
            digest: self.digest.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
