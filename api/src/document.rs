//! The job document: what the command line and the HTTP API show of a job.

mod build;
mod plan;
mod progress;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telecine_engine::activity::{ErrorClass, MediaSpan};
use telecine_engine::id::{PlanId, RunId, SessionId, StepId};
use telecine_engine::objects::Artifact;
use telecine_engine::queue::Queue;
use telecine_engine::retry::plan::{Action, Reason, Summary};
use telecine_engine::run::{AttemptOutcome, RunStatus, StepStatus};
use utoipa::ToSchema;

pub(crate) use build::{Sources, Whole};
pub(crate) use plan::{PlannedStepPage, RetryPlanDocument, json_name};
pub(crate) use progress::JobProgress;

/// Entries of a long list (steps, artifacts of a step, planned steps) that a document carries
/// unless it is asked for all.
pub(crate) const LIST_LIMIT: usize = 100;

/// Which definition a job executes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DefinitionRef {
    pub(crate) version: u32,
    /// `sha256:...` of its canonical form.
    pub(crate) digest: String,
}

/// What a list of jobs shows of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobHeader {
    #[schema(value_type = String)]
    pub(crate) id: RunId,
    pub(crate) r#type: String,
    pub(crate) definition: DefinitionRef,
    #[schema(value_type = String)]
    pub(crate) status: RunStatus,
    /// 1 for the first execution; each executed retry plan starts the next.
    pub(crate) round: u32,
    /// Key of the source.
    pub(crate) source: Option<String>,
    /// Where its steps wait, unless the definition says otherwise.
    #[schema(value_type = String)]
    pub(crate) queue: Queue,
    /// Which of its queue go first: the higher.
    pub(crate) priority: i32,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) error: Option<ErrorDocument>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// A job with everything in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobDocument {
    #[schema(value_type = String)]
    pub(crate) id: RunId,
    pub(crate) r#type: String,
    pub(crate) definition: DefinitionRef,
    #[schema(value_type = String)]
    pub(crate) status: RunStatus,
    pub(crate) round: u32,
    pub(crate) source: Option<String>,
    /// Identity of the source; `None` until it is known.
    pub(crate) hash: Option<String>,
    /// Number of the set that the job makes; `None` until it is allocated.
    pub(crate) generation: Option<u64>,
    /// Where its steps wait, unless the definition says otherwise.
    #[schema(value_type = String)]
    pub(crate) queue: Queue,
    /// Which of its queue go first: the higher.
    pub(crate) priority: i32,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) progress: JobProgress,
    pub(crate) steps: Vec<StepDocument>,
    /// How many steps there are; `steps` may be shorter.
    pub(crate) steps_total: usize,
    /// Where a server shows the steps behind these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps_next: Option<String>,
    pub(crate) output: Option<Value>,
    pub(crate) error: Option<ErrorDocument>,
    pub(crate) warnings: Vec<String>,
    pub(crate) retry_plan: Option<PlanDocument>,
    /// Always null: there are no callbacks yet.
    #[schema(value_type = Option<String>)]
    pub(crate) callback_status: Option<()>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// A step, or a node whose list is not known yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StepDocument {
    #[schema(value_type = String)]
    pub(crate) id: StepId,
    pub(crate) activity: String,
    #[schema(value_type = String)]
    pub(crate) status: StepStatus,
    /// Why it was skipped, is blocked or waits.
    pub(crate) reason: Option<String>,
    pub(crate) attempts: Vec<AttemptDocument>,
    pub(crate) progress: Option<StepProgress>,
    pub(crate) checkpoint: Option<CheckpointDocument>,
    pub(crate) output: Option<Value>,
    #[schema(value_type = Vec<Object>)]
    pub(crate) artifacts: Vec<Artifact>,
    /// How many artifacts there are; `artifacts` may be shorter.
    pub(crate) artifacts_total: usize,
    /// Where a server shows the artifacts behind these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifacts_next: Option<String>,
    /// The step of another job whose output it took instead of running its activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reused_from: Option<OriginDocument>,
}

/// Where an output was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct OriginDocument {
    #[schema(value_type = String)]
    pub(crate) job: RunId,
    #[schema(value_type = String)]
    pub(crate) step: StepId,
}

/// One try of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AttemptDocument {
    pub(crate) n: u32,
    /// `None` while it runs.
    #[schema(value_type = Option<String>)]
    pub(crate) outcome: Option<AttemptOutcome>,
    #[schema(value_type = String)]
    pub(crate) worker: SessionId,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// Seconds from its claim to its end.
    pub(crate) wall_s: Option<f64>,
    /// Processor time of the attempt and its child processes, in seconds.
    pub(crate) cpu_s: Option<f64>,
    /// The largest resident set of any one process, in bytes.
    pub(crate) max_rss_bytes: Option<u64>,
    /// Processors of the machine that it ran on, as far as it may use them.
    pub(crate) processors: Option<u32>,
    /// Number of the checkpoint it went on from.
    pub(crate) resumed_from: Option<u64>,
    /// The step of another job whose output it took; its activity did not run then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reused_from: Option<OriginDocument>,
    pub(crate) error: Option<ErrorDocument>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StepProgress {
    pub(crate) percent: Option<f64>,
    pub(crate) media_s: Option<f64>,
    pub(crate) fps: Option<f64>,
    pub(crate) speed: Option<f64>,
    pub(crate) eta_s: Option<f64>,
}

/// Where the next attempt of a step would go on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CheckpointDocument {
    pub(crate) seq: u64,
    /// From and to, in seconds of the source.
    #[schema(value_type = Option<Vec<f64>>)]
    pub(crate) covers_s: Option<MediaSpan>,
}

/// Why a job, a step or an attempt failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ErrorDocument {
    #[schema(value_type = String)]
    pub(crate) class: ErrorClass,
    pub(crate) code: String,
    pub(crate) message: String,
    #[schema(value_type = Option<String>)]
    pub(crate) step: Option<StepId>,
}

/// What trying a stopped job again would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PlanDocument {
    #[schema(value_type = String)]
    pub(crate) id: PlanId,
    pub(crate) digest: String,
    pub(crate) executable: bool,
    #[schema(value_type = Object)]
    pub(crate) summary: Summary,
    /// Where a server shows it.
    pub(crate) href: String,
    pub(crate) steps: Vec<PlannedStepDocument>,
    pub(crate) steps_total: usize,
    /// What the reader should know; says what would make the plan executable.
    pub(crate) warnings: Vec<String>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PlannedStepDocument {
    #[schema(value_type = String)]
    pub(crate) id: StepId,
    #[schema(value_type = String)]
    pub(crate) action: Action,
    #[schema(value_type = String)]
    pub(crate) reason: Reason,
    #[schema(value_type = Vec<String>)]
    pub(crate) because: Vec<StepId>,
    pub(crate) checkpoint: Option<CheckpointDocument>,
}
