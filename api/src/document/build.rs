use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use telecine_engine::activity::Progress;
use telecine_engine::definition::Definition;
use telecine_engine::id::StepId;
use telecine_engine::queue::{Capability, Kind, Prospect};
use telecine_engine::retry::plan::{PlanState, PlannedStep, RetryPlan};
use telecine_engine::retry::reuse::Origin;
use telecine_engine::run::{
    Attempt, CheckpointHead, Failure, Node, Run, RunStatus, Snapshot, StepRecord, StepStatus,
};

use crate::cursor::Cursor;

use super::{
    AttemptDocument, CheckpointDocument, DefinitionRef, ErrorDocument, JobDocument, JobHeader,
    LIST_LIMIT, OriginDocument, PlanDocument, PlannedStepDocument, StepDocument, StepProgress,
    progress,
};

/// What a job document is made of.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The job.
    pub(crate) snapshot: Snapshot,
    /// The definition that it executes.
    pub(crate) definition: Arc<Definition>,
    /// Its latest retry plan.
    pub(crate) plan: Option<RetryPlan>,
    /// When the snapshot was taken.
    pub(crate) now: DateTime<Utc>,
    /// What workers can run, if a step of the job is ready.
    pub(crate) offers: Vec<Capability>,
    /// What the job is that the snapshot is a part of; `None` if it is all of it.
    pub(crate) whole: Option<Whole>,
}

/// A job of which only some steps were read.
#[derive(Debug)]
pub(crate) struct Whole {
    /// How many steps it has.
    pub(crate) total: usize,
    /// The last step of those that were asked for, if others are behind it.
    pub(crate) last: Option<StepId>,
    /// How many steps its retry plan has.
    pub(crate) planned: usize,
}

impl Sources {
    /// Whether steps are missing, of which only the counters of their nodes tell.
    pub(super) fn is_partial(&self) -> bool {
        let nodes = self.snapshot.nodes.iter();
        let known: usize = nodes
            .map(|node| node.total.unwrap_or_default() as usize)
            .sum();
        self.whole.is_some() && self.snapshot.steps.len() < known
    }

    /// The documents of the steps that were asked for, in the order of the definition.
    pub(crate) fn shown(&self) -> Vec<StepDocument> {
        let mut steps = steps(self);
        let last = self.whole.as_ref().and_then(|whole| whole.last.as_ref());
        if let Some(last) = last {
            let nodes = &self.snapshot.nodes;
            let place = |id: &StepId| {
                let node = nodes.iter().position(|node| node.name == id.node);
                (node, id.item)
            };
            let last = place(last);
            steps.retain(|step| place(&step.id) <= last);
        }
        let job = &self.snapshot.run.id;
        for step in &mut steps {
            step.abridge();
            if step.artifacts.len() < step.artifacts_total {
                let cursor = Cursor::Artifact(step.artifacts.len());
                let of = step.id.to_string().replace('[', "%5B").replace(']', "%5D");
                step.artifacts_next = Some(format!(
                    "/api/jobs/{job}/steps/{of}/artifacts?cursor={cursor}"
                ));
            }
        }
        steps
    }

    /// Where the page behind the steps that were asked for begins.
    pub(crate) fn next(&self) -> Option<Cursor> {
        let last = self.whole.as_ref()?.last.clone();
        last.map(Cursor::Step)
    }
}

impl From<&Run> for JobHeader {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            r#type: run.workflow.clone(),
            definition: definition_ref(run),
            status: run.status,
            round: run.round,
            source: text(&run.input, "source"),
            queue: run.queue,
            priority: run.priority,
            labels: run.labels.clone(),
            error: run.error.as_ref().map(ErrorDocument::from),
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }
}

impl JobDocument {
    /// The document of a job, with everything in it.
    pub(crate) fn complete(sources: &Sources) -> Self {
        let Sources { snapshot, plan, .. } = sources;
        let run = &snapshot.run;
        let steps = steps(sources);
        let shown = run.status.is_stopped() && run.status != RunStatus::Succeeded;
        let plan = plan
            .as_ref()
            .filter(|plan| shown && plan.state == PlanState::Proposed);
        Self {
            id: run.id.clone(),
            r#type: run.workflow.clone(),
            definition: definition_ref(run),
            status: run.status,
            round: run.round,
            source: text(&run.input, "source"),
            hash: find(snapshot, |value| text(value, "hash")).or_else(|| text(&run.input, "hash")),
            generation: find(snapshot, |value| value.get("generation")?.as_u64()),
            queue: run.queue,
            priority: run.priority,
            labels: run.labels.clone(),
            progress: progress::of_job(sources),
            steps_total: match &sources.whole {
                Some(whole) if sources.is_partial() => whole.total,
                _ => steps.len(),
            },
            steps,
            steps_next: None,
            output: run.output.clone(),
            error: run.error.as_ref().map(ErrorDocument::from),
            warnings: warnings(snapshot),
            retry_plan: plan.map(|plan| PlanDocument {
                steps_total: match &sources.whole {
                    Some(whole) => whole.planned,
                    None => plan.steps.len(),
                },
                ..plan.into()
            }),
            callback_status: None,
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }

    /// What a list would show of it.
    pub(crate) fn header(&self) -> JobHeader {
        JobHeader {
            id: self.id.clone(),
            r#type: self.r#type.clone(),
            definition: self.definition.clone(),
            status: self.status,
            round: self.round,
            source: self.source.clone(),
            queue: self.queue,
            priority: self.priority,
            labels: self.labels.clone(),
            error: self.error.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }

    /// What a server shows of a job: its first steps, and where to find the others.
    pub(crate) fn linked(sources: &Sources) -> Self {
        let job = &sources.snapshot.run.id;
        let next = sources.next();
        let whole = Self::complete(sources);
        let steps_next = next.map(|cursor| format!("/api/jobs/{job}/steps?cursor={cursor}"));
        Self {
            steps: sources.shown(),
            steps_next,
            ..whole
        }
        .abridged()
    }

    /// The same with at most [`LIST_LIMIT`] entries in each list.
    pub(crate) fn abridged(mut self) -> Self {
        self.steps.truncate(LIST_LIMIT);
        for step in &mut self.steps {
            step.abridge();
        }
        if let Some(plan) = &mut self.retry_plan {
            plan.steps.truncate(LIST_LIMIT);
        }
        self
    }
}

fn definition_ref(run: &Run) -> DefinitionRef {
    DefinitionRef {
        version: run.version,
        digest: run.definition.clone(),
    }
}

fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(str::to_owned)
}

/// What the run's output says, or else the first step whose output says it.
fn find<T>(snapshot: &Snapshot, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let outputs = snapshot.steps.iter().map(|record| &record.step.output);
    std::iter::once(&snapshot.run.output)
        .chain(outputs)
        .flatten()
        .find_map(read)
}

/// Warnings of all steps, and failures that the run went on without; one that many items of a
/// fan-out give is shown once.
fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let succeeded = snapshot.run.status == RunStatus::Succeeded;
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for StepRecord { step, .. } in &snapshot.steps {
        let failure = step
            .error
            .as_ref()
            .filter(|_| succeeded && step.status == StepStatus::Failed);
        let failure = failure.map(|error| format!("failed: {} ({})", error.message, error.code));
        for text in step.warnings.iter().cloned().chain(failure) {
            let warning = format!("{}: {text}", step.id.node);
            if seen.insert(warning.clone()) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// All steps in the order of the definition. A node without steps stands for itself: its list is not
/// known yet, or empty.
fn steps(sources: &Sources) -> Vec<StepDocument> {
    let Sources {
        snapshot,
        definition,
        ..
    } = sources;
    let records = snapshot.by_node();
    let mut former = former(snapshot);
    let mut steps = Vec::with_capacity(snapshot.steps.len());
    for node in &snapshot.nodes {
        match records.get(node.name.as_str()) {
            Some(records) => {
                let why = why_ready(sources, node);
                let documents = records.iter().map(|record| StepDocument::from(*record));
                steps.extend(documents.map(|step| explained(step, why.as_deref())));
            }
            None => steps.push(of_node(node, definition)),
        }
        for (id, attempts) in former.remove(node.name.as_str()).into_iter().flatten() {
            steps.push(of_former(id, attempts, of_node(node, definition)));
        }
    }
    steps
}

/// Why the ready steps of a node wait, if not only for their turn.
fn why_ready(sources: &Sources, node: &Node) -> Option<String> {
    let run = &sources.snapshot.run;
    let kind = Kind::of(sources.definition.steps.get(&node.name)?, run);
    Prospect::of(&run.id, &kind, &sources.offers).reason(&kind)
}

fn explained(step: StepDocument, why_ready: Option<&str>) -> StepDocument {
    match step.status {
        StepStatus::Ready => StepDocument {
            reason: step.reason.or_else(|| why_ready.map(str::to_owned)),
            ..step
        },
        _ => step,
    }
}

/// Attempts by item, and items by node.
type Former<'a> = BTreeMap<&'a str, BTreeMap<&'a StepId, Vec<&'a Attempt>>>;

/// The attempts of items that are there no longer.
fn former(snapshot: &Snapshot) -> Former<'_> {
    let mut former = Former::new();
    for (id, attempt) in &snapshot.former {
        let items = former.entry(&id.node).or_default();
        items.entry(id).or_default().push(attempt);
    }
    former
}

/// An item of an earlier round, whose attempts are all that is left of it.
fn of_former(id: &StepId, attempts: Vec<&Attempt>, node: StepDocument) -> StepDocument {
    let (status, reason) = match node.status {
        StepStatus::Pending => (StepStatus::Pending, "its list is read again first"),
        _ => (StepStatus::Skipped, "it is no longer in the list"),
    };
    StepDocument {
        id: id.clone(),
        status,
        reason: Some(reason.to_owned()),
        attempts: attempts.into_iter().map(AttemptDocument::from).collect(),
        output: None,
        ..node
    }
}

fn of_node(node: &Node, definition: &Definition) -> StepDocument {
    let activity = definition
        .steps
        .get(&node.name)
        .map(|step| step.activity.to_string());
    let empty = node.status == StepStatus::Succeeded;
    StepDocument {
        id: StepId::single(&node.name),
        activity: activity.unwrap_or_default(),
        status: node.status,
        reason: node.reason.clone(),
        attempts: Vec::new(),
        progress: None,
        checkpoint: None,
        output: empty.then(|| Value::Array(Vec::new())),
        artifacts: Vec::new(),
        artifacts_total: 0,
        artifacts_next: None,
        reused_from: None,
    }
}

impl StepDocument {
    /// Leaves the first [`LIST_LIMIT`] artifacts.
    pub(crate) fn abridge(&mut self) {
        self.artifacts.truncate(LIST_LIMIT);
    }
}

impl From<&StepRecord> for StepDocument {
    fn from(record: &StepRecord) -> Self {
        let step = &record.step;
        let origin = record.made.as_ref();
        let origin = origin.and_then(|made| made.reused_from.as_ref());
        let origin = origin.map(OriginDocument::from);
        let mut attempts: Vec<_> = record.attempts.iter().map(AttemptDocument::from).collect();
        // What took it is the attempt that succeeded last.
        if let Some(last) = attempts.last_mut() {
            last.reused_from.clone_from(&origin);
        }
        Self {
            id: step.id.clone(),
            activity: step.activity.clone(),
            status: step.status,
            reason: step.reason.clone(),
            attempts,
            progress: step.progress.as_deref().copied().map(StepProgress::from),
            checkpoint: step
                .checkpoint
                .as_deref()
                .copied()
                .map(CheckpointDocument::from),
            output: step.output.clone(),
            artifacts: record
                .artifacts
                .iter()
                .map(|it| it.artifact.clone())
                .collect(),
            artifacts_total: record.artifacts.len(),
            artifacts_next: None,
            reused_from: origin,
        }
    }
}

impl From<&Origin> for OriginDocument {
    fn from(origin: &Origin) -> Self {
        Self {
            job: origin.job.clone(),
            step: origin.step.clone(),
        }
    }
}

impl From<&Attempt> for AttemptDocument {
    fn from(attempt: &Attempt) -> Self {
        let wall = attempt
            .ended_at
            .map(|ended_at| ended_at - attempt.started_at);
        Self {
            n: attempt.n,
            outcome: attempt.outcome,
            worker: attempt.worker.clone(),
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            wall_s: wall.map(|wall| wall.as_seconds_f64()),
            cpu_s: attempt.usage.map(|usage| usage.cpu_s),
            max_rss_bytes: attempt.usage.map(|usage| usage.max_rss_bytes),
            processors: attempt.usage.and_then(|usage| usage.processors),
            resumed_from: attempt.resumed_from,
            reused_from: None,
            error: attempt.error.as_ref().map(ErrorDocument::from),
        }
    }
}

impl From<Progress> for StepProgress {
    fn from(progress: Progress) -> Self {
        let Progress {
            percent,
            media_s,
            fps,
            speed,
            eta_s,
            ..
        } = progress;
        Self {
            percent,
            media_s,
            fps,
            speed,
            eta_s,
        }
    }
}

impl From<CheckpointHead> for CheckpointDocument {
    fn from(head: CheckpointHead) -> Self {
        Self {
            seq: head.seq,
            covers_s: head.covers_s,
        }
    }
}

impl From<&Failure> for ErrorDocument {
    fn from(failure: &Failure) -> Self {
        Self {
            class: failure.class,
            code: failure.code.clone(),
            message: failure.message.clone(),
            step: failure.step.clone(),
        }
    }
}

impl From<&RetryPlan> for PlanDocument {
    fn from(plan: &RetryPlan) -> Self {
        Self {
            id: plan.id.clone(),
            digest: plan.digest.clone(),
            executable: plan.executable,
            summary: plan.summary,
            href: format!("/api/jobs/{}/retry-plan", plan.job),
            steps: plan.steps.iter().map(PlannedStepDocument::from).collect(),
            steps_total: plan.steps.len(),
            warnings: plan.warnings.clone(),
        }
    }
}

impl From<&PlannedStep> for PlannedStepDocument {
    fn from(step: &PlannedStep) -> Self {
        Self {
            id: step.id.clone(),
            action: step.action,
            reason: step.reason,
            because: step.because.clone(),
            checkpoint: step.checkpoint.map(CheckpointDocument::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use telecine_engine::id::{RunId, SessionId};
    use telecine_engine::queue::Queue;
    use telecine_engine::run::{Amendments, AttemptOutcome, StoreUrls};

    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            n: 1,
            round: 1,
            outcome: Some(AttemptOutcome::Succeeded),
            worker: SessionId::generate(),
            started_at: DateTime::UNIX_EPOCH,
            ended_at: Some(DateTime::UNIX_EPOCH),
            usage: None,
            resumed_from: None,
            error: None,
        }
    }

    fn sources(node: Node) -> Sources {
        let text = json!({"workflow": "t:x", "version": 1, "steps": {
            "each": {"activity": "t.a@1", "for_each": "input.list"},
        }});
        let definition = Definition::from_canonical(&text.to_string()).expect("a definition");
        let run = Run {
            id: RunId::generate(),
            workflow: "t:x".to_owned(),
            version: 1,
            definition: definition.digest(),
            status: RunStatus::Running,
            round: 2,
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
            error: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        };
        Sources {
            snapshot: Snapshot {
                run,
                nodes: vec![node],
                steps: Vec::new(),
                former: vec![(StepId::item("each", 3), attempt())],
                amendments: Amendments::default(),
            },
            definition: Arc::new(definition),
            plan: None,
            now: DateTime::UNIX_EPOCH,
            offers: Vec::new(),
            whole: None,
        }
    }

    #[test]
    fn attempts_of_an_earlier_round_stay_visible() {
        let pending = Node::pending("each", true);
        let emptied = Node {
            status: StepStatus::Succeeded,
            total: Some(0),
            ..pending.clone()
        };
        for (node, status) in [
            (pending, StepStatus::Pending),
            (emptied, StepStatus::Skipped),
        ] {
            let document = JobDocument::complete(&sources(node));
            let [_, former] = document.steps.as_slice() else {
                panic!("the node, and what was in its list: {document:?}")
            };
            assert_eq!(
                (former.id.to_string().as_str(), former.status),
                ("each[3]", status)
            );
            assert_eq!(former.attempts.len(), 1);
            assert!(former.reason.is_some() && former.output.is_none());
        }
    }
}
