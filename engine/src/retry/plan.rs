//! The retry plan: for a run that stopped short, what each step would do if it were tried again,
//! and why. Computed by a pure function in the transaction that stops the run; executing it is
//! bound to its digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::activity::{ErrorClass, hex};
use crate::definition::{Definition, OnFailure};
use crate::id::{PlanId, RunId, StepId};
use crate::objects::Artifact;
use crate::retry::policy::{
    DISK_FULL, OBJECT_ARCHIVED, OBJECT_MISSING, PART_OF_THE_JOB, PERMISSION_DENIED, SOURCE_CHANGED,
};
use crate::run::{CheckpointHead, Failure, Node, Snapshot, StepRecord, StepStatus};

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
    /// The run was cancelled before it was done.
    Cancelled,
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

/// What a check of an object found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There, with the recorded size.
    Present,
    /// Not there.
    Missing,
    /// There, with another size or other bytes.
    Corrupt,
}

/// An object that a reused or resumed step stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactProof {
    /// The object as it was recorded.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Whether it was found as recorded; `None` before it was checked.
    pub verified: Option<bool>,
}

/// What a reuse stands on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
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
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What a reuse stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Where a resume continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointHead>,
    /// Its attempts, if it would run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
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
}

/// Time that a plan does not spend again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Wall time of the reused steps' successful attempts, in seconds.
    pub wall_s: f64,
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
    /// Over basis, actions, reasons, checkpoints and proofs; not over times.
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
}

/// Checks of objects, by key. An object without an entry has not been checked.
pub type Verdicts = BTreeMap<String, Verdict>;

/// Computes the plan of a stopped run. `id` becomes the plan's; everything else follows from the
/// arguments.
#[must_use]
pub fn compute(
    id: PlanId,
    snapshot: &Snapshot,
    definition: &Definition,
    verdicts: &Verdicts,
) -> RetryPlan {
    let mut planner = Planner {
        records: by_node(&snapshot.steps),
        definition,
        verdicts,
        nodes: BTreeMap::new(),
    };
    let steps: Vec<PlannedStep> = definition
        .steps
        .keys()
        .filter_map(|name| snapshot.nodes.iter().find(|node| node.name == *name))
        .flat_map(|node| planner.plan_node(node))
        .collect();
    let basis = Basis {
        revision: snapshot.run.revision,
        round: snapshot.run.round,
        definition: format!(
            "{}@{} {}",
            snapshot.run.workflow, snapshot.run.version, snapshot.run.definition
        ),
    };
    RetryPlan {
        id,
        job: snapshot.run.id.clone(),
        digest: digest(&basis, &steps),
        state: PlanState::Proposed,
        executable: is_executable(&steps),
        summary: summarise(&steps, snapshot),
        warnings: warnings(&steps, snapshot),
        basis,
        steps,
    }
}

/// What a node does as far as the nodes that need it are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeFate {
    Kept,
    Runs,
    Blocked,
}

/// Steps by their node, each in its order.
fn by_node(steps: &[StepRecord]) -> BTreeMap<&str, Vec<&StepRecord>> {
    let mut records: BTreeMap<&str, Vec<&StepRecord>> = BTreeMap::new();
    for record in steps {
        records
            .entry(&record.step.id.node)
            .or_default()
            .push(record);
    }
    records
}

struct Planner<'a> {
    records: BTreeMap<&'a str, Vec<&'a StepRecord>>,
    definition: &'a Definition,
    verdicts: &'a Verdicts,
    nodes: BTreeMap<String, NodeFate>,
}

impl Planner<'_> {
    fn plan_node(&mut self, node: &Node) -> Vec<PlannedStep> {
        let planned = match self.upstream(&node.name) {
            (NodeFate::Blocked, because) => {
                vec![group(
                    node,
                    Action::Blocked,
                    Reason::UpstreamBlocked,
                    because,
                )]
            }
            (NodeFate::Runs, because) => vec![self.after_upstream(node, because)],
            (NodeFate::Kept, _) => self.plan_steps(node),
        };
        let fate = if planned.iter().any(|step| step.action == Action::Blocked) {
            NodeFate::Blocked
        } else if planned
            .iter()
            .any(|s| matches!(s.action, Action::Resume | Action::Rerun))
        {
            NodeFate::Runs
        } else {
            NodeFate::Kept
        };
        self.nodes.insert(node.name.clone(), fate);
        planned
    }

    /// The strongest fate among the nodes that a node needs, and which have it.
    fn upstream(&self, node: &str) -> (NodeFate, Vec<StepId>) {
        let needs = self
            .definition
            .steps
            .get(node)
            .map(|step| step.needs.as_slice());
        let having = |fate| -> Vec<StepId> {
            needs
                .unwrap_or_default()
                .iter()
                .filter(|need| self.nodes.get(&need.step) == Some(&fate))
                .map(|need| StepId::single(&need.step))
                .collect()
        };
        for fate in [NodeFate::Blocked, NodeFate::Runs] {
            let nodes = having(fate);
            if !nodes.is_empty() {
                return (fate, nodes);
            }
        }
        (NodeFate::Kept, Vec::new())
    }

    /// A node behind one that runs again: its list, its condition and its input are read anew.
    fn after_upstream(&self, node: &Node, because: Vec<StepId>) -> PlannedStep {
        let ran = self
            .steps_of(&node.name)
            .any(|record| record.step.attempts > 0);
        let reason = if ran {
            Reason::UpstreamChanged
        } else {
            Reason::NeverRan
        };
        let mut step = group(node, Action::Rerun, reason, because);
        step.attempts = Some(self.attempts(&node.name, 0));
        step
    }

    fn plan_steps(&self, node: &Node) -> Vec<PlannedStep> {
        let mut planned: Vec<_> = self
            .steps_of(&node.name)
            .map(|record| self.plan_step(record))
            .collect();
        if planned.is_empty() {
            planned.push(self.plan_unexpanded(node));
        }
        planned
    }

    /// A fan-out without steps.
    fn plan_unexpanded(&self, node: &Node) -> PlannedStep {
        match node.status {
            StepStatus::Succeeded => group(node, Action::Reuse, Reason::Succeeded, Vec::new()),
            StepStatus::Skipped => group(node, Action::Skip, Reason::ConditionFalse, Vec::new()),
            StepStatus::Cancelled => group(node, Action::Rerun, Reason::Cancelled, Vec::new()),
            StepStatus::Failed => {
                let (action, reason) = self.permanent(&node.name);
                group(node, action, reason, Vec::new())
            }
            _ => group(node, Action::Rerun, Reason::NeverRan, Vec::new()),
        }
    }

    fn plan_step(&self, record: &StepRecord) -> PlannedStep {
        let step = &record.step;
        let (action, reason) = match step.status {
            StepStatus::Succeeded => self.keep(record),
            StepStatus::Skipped => (Action::Skip, Reason::ConditionFalse),
            StepStatus::Failed if is_permanent(step.error.as_ref()) => {
                self.permanent(step.id.node.as_str())
            }
            StepStatus::Failed => (Action::Rerun, Reason::FailedRetryable),
            StepStatus::Held if is_permanent(step.error.as_ref()) => {
                (Action::Blocked, Reason::FailedPermanent)
            }
            StepStatus::Held if is_lost(step.error.as_ref()) => (Action::Rerun, Reason::Lost),
            StepStatus::Held => (Action::Rerun, Reason::Held),
            StepStatus::Cancelled if step.attempts > 0 => (Action::Rerun, Reason::Cancelled),
            _ => (Action::Rerun, Reason::NeverRan),
        };
        let resumable = action == Action::Rerun
            && step.checkpoint.is_some()
            && self.damage(&record.artifacts).is_none();
        let action = if resumable { Action::Resume } else { action };
        let runs = matches!(action, Action::Resume | Action::Rerun);
        PlannedStep {
            id: step.id.clone(),
            action,
            reason,
            because: Vec::new(),
            error: step.error.clone().filter(|_| action != Action::Reuse),
            proof: matches!(action, Action::Reuse | Action::Resume).then(|| self.proof(record)),
            checkpoint: step.checkpoint.filter(|_| action == Action::Resume),
            attempts: runs.then(|| self.attempts(&step.id.node, step.attempts)),
        }
    }

    fn keep(&self, record: &StepRecord) -> (Action, Reason) {
        match self.damage(&record.artifacts) {
            None => (Action::Reuse, Reason::Succeeded),
            Some(Verdict::Corrupt) => (Action::Rerun, Reason::ArtifactCorrupt),
            Some(_) => (Action::Rerun, Reason::ArtifactMissing),
        }
    }

    /// A failure that trying again cannot help: others go on without it, or nothing can.
    fn permanent(&self, node: &str) -> (Action, Reason) {
        let tolerated = self
            .definition
            .steps
            .get(node)
            .is_some_and(|step| step.on_failure == OnFailure::Continue);
        let action = if tolerated {
            Action::Skip
        } else {
            Action::Blocked
        };
        (action, Reason::FailedPermanent)
    }

    fn damage(&self, artifacts: &[Artifact]) -> Option<Verdict> {
        artifacts
            .iter()
            .filter_map(|artifact| self.verdicts.get(&artifact.key).copied())
            .find(|verdict| *verdict != Verdict::Present)
    }

    fn proof(&self, record: &StepRecord) -> Proof {
        let artifacts = record
            .artifacts
            .iter()
            .map(|artifact| ArtifactProof {
                artifact: artifact.clone(),
                verified: self
                    .verdicts
                    .get(&artifact.key)
                    .map(|v| *v == Verdict::Present),
            })
            .collect();
        Proof { artifacts }
    }

    fn attempts(&self, node: &str, used: u32) -> Attempts {
        let granted = self
            .definition
            .steps
            .get(node)
            .map_or(1, |step| step.retry.max_attempts);
        Attempts { used, granted }
    }

    fn steps_of(&self, node: &str) -> impl Iterator<Item = &StepRecord> {
        self.records.get(node).into_iter().flatten().copied()
    }
}

fn group(node: &Node, action: Action, reason: Reason, because: Vec<StepId>) -> PlannedStep {
    PlannedStep {
        id: StepId::single(&node.name),
        action,
        reason,
        because,
        error: None,
        proof: None,
        checkpoint: None,
        attempts: None,
    }
}

/// Whether trying again cannot help, because the cause is part of the job: its source, its input or its
/// definition. All else that is set up wrongly is around it. Whoever runs the job mends that, and then
/// the same step can succeed; whether it is mended, only another try can tell.
fn is_permanent(error: Option<&Failure>) -> bool {
    let Some(error) = error else { return false };
    match error.class {
        ErrorClass::Config => PART_OF_THE_JOB.contains(&error.code.as_str()),
        ErrorClass::Input => ![OBJECT_MISSING, OBJECT_ARCHIVED].contains(&error.code.as_str()),
        class => !class.is_retryable(),
    }
}

fn is_lost(error: Option<&Failure>) -> bool {
    error.is_some_and(|error| error.class == ErrorClass::Lost)
}

fn is_executable(steps: &[PlannedStep]) -> bool {
    let runs = steps
        .iter()
        .any(|s| matches!(s.action, Action::Resume | Action::Rerun));
    runs && !steps.iter().any(|step| step.action == Action::Blocked)
}

/// What stands in the way of success.
fn warnings(steps: &[PlannedStep], snapshot: &Snapshot) -> Vec<String> {
    let blocked = steps
        .iter()
        .filter(|step| step.action == Action::Blocked && step.reason == Reason::FailedPermanent);
    let mut warnings: Vec<String> = blocked.map(obstacle).collect();
    if let Some(error) = snapshot.run.error.as_ref().filter(|_| warnings.is_empty())
        && !is_executable(steps)
    {
        warnings.push(format!("no step has to run again, but {}", error.message));
    }
    warnings.extend(to_do_first(steps));
    warnings
}

/// What to do before the plan can help: of several steps that need the same, the first stands for
/// all.
fn to_do_first(steps: &[PlannedStep]) -> Vec<String> {
    let runs = |step: &&PlannedStep| matches!(step.action, Action::Resume | Action::Rerun);
    let errors = steps
        .iter()
        .filter(runs)
        .filter_map(|step| step.error.as_ref());
    let mut told = BTreeSet::new();
    let first = errors.filter(|error| told.insert(error.code.as_str()));
    let needs = first.filter_map(|error| Some(format!("{}: {}", need(error)?, error.message)));
    needs.collect()
}

/// What somebody has to do before a step that failed can succeed; `None` if it may pass by itself.
fn need(error: &Failure) -> Option<&'static str> {
    match (error.code.as_str(), error.class) {
        (DISK_FULL, _) => Some("make room first"),
        (PERMISSION_DENIED, _) => Some("give permission first"),
        (OBJECT_MISSING, _) => Some("put it back first"),
        (OBJECT_ARCHIVED, _) => Some("restore it first"),
        (_, ErrorClass::Config) => Some("set this right first"),
        _ => None,
    }
}

fn obstacle(step: &PlannedStep) -> String {
    match &step.error {
        Some(error) if error.code == SOURCE_CHANGED => format!("{}: {}", step.id, error.message),
        Some(error) if error.class == ErrorClass::Input => format!(
            "{} cannot succeed with this source ({}): submit a corrected one as a new job",
            step.id, error.message
        ),
        Some(error) => format!(
            "{} cannot succeed as it is set up: {}",
            step.id, error.message
        ),
        None => format!("{} cannot succeed as it is set up", step.id),
    }
}

fn summarise(steps: &[PlannedStep], snapshot: &Snapshot) -> Summary {
    let mut summary = Summary::default();
    let mut reused = BTreeSet::new();
    for step in steps {
        match step.action {
            Action::Reuse => {
                summary.reuse += 1;
                reused.insert(&step.id);
            }
            Action::Resume => summary.resume += 1,
            Action::Rerun => summary.rerun += 1,
            Action::Skip => summary.skip += 1,
            Action::Blocked => summary.blocked += 1,
        }
    }
    summary.saved.wall_s = snapshot
        .steps
        .iter()
        .filter(|record| reused.contains(&record.step.id))
        .filter_map(|record| record.attempts.last())
        .filter_map(|attempt| Some(attempt.ended_at? - attempt.started_at))
        .map(|wall| wall.as_seconds_f64())
        // Not `sum`, which makes -0.0 of nothing.
        .fold(0.0, |sum, wall| sum + wall);
    summary
}

fn digest(basis: &Basis, steps: &[PlannedStep]) -> String {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| {
            json!([
                step.id,
                step.action,
                step.reason,
                step.because,
                step.checkpoint,
                step.proof
            ])
        })
        .collect();
    let text = json!({"basis": basis, "steps": steps}).to_string();
    format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;
    use crate::run::{Run, RunStatus, Step, StoreUrls};

    /// The plan of a run whose one step failed.
    fn after(class: ErrorClass, code: &str) -> RetryPlan {
        let steps = json!({"a": {"activity": "t.a@1"}});
        let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
        let definition = Definition::from_canonical(&text).unwrap();
        let error = Failure {
            class,
            code: code.to_owned(),
            message: "this is why".to_owned(),
            step: None,
        };
        let step = Step {
            status: StepStatus::Failed,
            attempts: 1,
            error: Some(error.clone()),
            ..Step::pending(StepId::single("a"), "t.a@1".to_owned(), 1)
        };
        let snapshot = Snapshot {
            run: failed(error),
            nodes: vec![Node {
                status: StepStatus::Failed,
                ..Node::pending("a", false)
            }],
            steps: vec![StepRecord {
                step,
                attempts: Vec::new(),
                artifacts: Vec::new(),
            }],
            former: Vec::new(),
        };
        compute(PlanId::generate(), &snapshot, &definition, &Verdicts::new())
    }

    fn failed(error: Failure) -> Run {
        Run {
            id: RunId::generate(),
            workflow: "t:x".to_owned(),
            version: 1,
            definition: String::new(),
            status: RunStatus::Failed,
            round: 1,
            revision: 1,
            events: 0,
            input: json!({}),
            fingerprint: String::new(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: BTreeMap::new(),
            output: None,
            error: Some(error),
            created_at: chrono::DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        }
    }

    #[test]
    fn what_the_operator_can_mend_runs_again_and_the_plan_says_what_to_do_first() {
        let config = [
            "plugin_missing",
            "gstreamer_missing",
            "vips_missing",
            "unknown_activity",
            "unknown_tool",
            "bad_store",
            "bucket_missing",
            "store_credentials_refused",
            "code_of_a_plugin",
        ];
        let config = config.map(|code| (ErrorClass::Config, code, "set this right first"));
        let others = [
            (
                ErrorClass::Config,
                PERMISSION_DENIED,
                "give permission first",
            ),
            (ErrorClass::Resource, DISK_FULL, "make room first"),
            (ErrorClass::Input, OBJECT_MISSING, "put it back first"),
            (ErrorClass::Input, OBJECT_ARCHIVED, "restore it first"),
        ];
        for (class, code, need) in config.into_iter().chain(others) {
            let plan = after(class, code);
            let step = &plan.steps[0];
            let does = (plan.executable, step.action, step.reason);
            let runs = (true, Action::Rerun, Reason::FailedRetryable);
            assert_eq!(does, runs, "{code}");
            assert_eq!(plan.warnings, [format!("{need}: this is why")], "{code}");
        }
    }

    #[test]
    fn what_is_part_of_the_job_stays_blocked() {
        let config = PART_OF_THE_JOB.map(|code| (ErrorClass::Config, code));
        let input = ["not_media", "source_truncated", SOURCE_CHANGED];
        let input = input.map(|code| (ErrorClass::Input, code));
        for (class, code) in config.into_iter().chain(input) {
            let plan = after(class, code);
            let step = &plan.steps[0];
            let does = (plan.executable, step.action, step.reason);
            let stays = (false, Action::Blocked, Reason::FailedPermanent);
            assert_eq!(does, stays, "{code}");
            assert_eq!(plan.warnings.len(), 1, "{code}: {:?}", plan.warnings);
        }
    }
}
