use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use telecine_engine::activity::Checkpoint;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::objects::StoredArtifact;
use telecine_engine::queue::{Ticket, Waiting};
use telecine_engine::retry::plan::{PlanState, RetryPlan};
use telecine_engine::retry::reuse::Made;
use telecine_engine::run::{
    Amendments, Attempt, CheckpointHead, Event, Node, RecordedEvent, Run, Snapshot, Step,
    StepRecord, StepStatus,
};
use telecine_engine::store::{
    Content, Fence, NewCheckpoint, Outline, StepSet, StoreError, Stretch, ViewRows, Window,
};

use crate::sim::States;

/// Why an attempt begins at the start although there is a checkpoint.
const REFUSED: &str = "it was made with other parameters, of other objects, or by another version of the activity or its tools";

/// Everything of one run.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) run: Run,
    pub(super) nodes: Vec<Node>,
    amendments: Amendments,
    pub(super) steps: BTreeMap<Key, Step>,
    pub(super) events: Vec<RecordedEvent>,
    pub(super) plans: Vec<RetryPlan>,
    /// By node.
    tickets: BTreeMap<String, Ticket>,
    attempts: BTreeMap<Key, Vec<Attempt>>,
    artifacts: BTreeMap<Key, Vec<Kept>>,
    made: BTreeMap<Key, Made>,
    checkpoints: BTreeMap<Key, Checkpoint>,
    /// Checkpoints ever made of a step; numbers them.
    numbers: BTreeMap<Key, u64>,
}

/// Place of a step: that of its node in the definition, and in the list.
pub(super) type Key = (usize, Option<u32>, StepId);

/// An object of a step, and whether only a checkpoint names it.
type Kept = (StoredArtifact, bool);

impl Rows {
    pub(super) fn new(run: &Run, nodes: &[Node]) -> Self {
        Self {
            run: run.clone(),
            nodes: nodes.to_vec(),
            amendments: Amendments::default(),
            steps: BTreeMap::new(),
            events: Vec::new(),
            plans: Vec::new(),
            tickets: BTreeMap::new(),
            attempts: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            made: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    pub(super) fn states(&self) -> States {
        States::of(&self.run, &self.nodes, self.steps.values())
    }

    pub(super) fn executed_plan(&self) -> Option<&RetryPlan> {
        let mut plans = self.plans.iter().rev();
        plans.find(|plan| plan.state == PlanState::Executed)
    }

    pub(super) fn key(&self, id: &StepId) -> Key {
        let place = self.nodes.iter().position(|node| node.name == id.node);
        (place.unwrap_or(usize::MAX), id.item, id.clone())
    }

    pub(super) fn view(&self) -> ViewRows {
        ViewRows {
            run: self.run.clone(),
            nodes: self.nodes.clone(),
            amendments: self.amendments.clone(),
        }
    }

    /// A step as it is read: with its latest checkpoint.
    pub(super) fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.get(&self.key(id))
    }

    pub(super) fn load(&self, which: &StepSet) -> Vec<Step> {
        match which {
            StepSet::Empty => Vec::new(),
            StepSet::One(id) => self.step(id).cloned().into_iter().collect(),
            StepSet::Unsettled => {
                let unsettled = self.steps.values().filter(|step| !step.status.is_settled());
                unsettled.cloned().collect()
            }
            StepSet::All => self.steps.values().cloned().collect(),
        }
    }

    pub(super) fn has_steps(&self, node: &str) -> bool {
        self.steps.values().any(|step| step.id.node == node)
    }

    pub(super) fn output(&self, node: &str) -> Value {
        let of_node = || self.steps.values().filter(|step| step.id.node == node);
        let output = |step: &Step| match step.status {
            StepStatus::Succeeded => step.output.clone().unwrap_or_default(),
            _ => Value::Null,
        };
        match of_node().next() {
            Some(step) if step.id.item.is_none() => output(step),
            _ => of_node().map(output).collect(),
        }
    }

    pub(super) fn checkpoint(&self, id: &StepId) -> Option<&Checkpoint> {
        self.checkpoints.get(&self.key(id))
    }

    /// Ready steps, in the order of the definition and of its lists.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let ready = self.steps.iter();
        let ready = ready.filter(|(_, step)| step.status == StepStatus::Ready);
        ready
            .filter_map(|((position, ..), step)| {
                Some(Waiting {
                    run: self.run.id.clone(),
                    step: step.id.clone(),
                    position: *position,
                    ticket: self.tickets.get(&step.id.node)?.clone().of(step),
                })
            })
            .collect()
    }

    pub(super) fn owned(&mut self, fence: &Fence) -> Result<&mut Step, StoreError> {
        let key = self.key(&fence.step);
        let step = self.steps.get_mut(&key);
        step.filter(|step| step.status == StepStatus::Running && step.fence == fence.fence)
            .ok_or_else(|| StoreError::Fenced {
                run: fence.run.clone(),
                step: fence.step.clone(),
            })
    }

    /// What an attempt did.
    pub(super) fn event(&mut self, event: Event, at: DateTime<Utc>) {
        self.run.revision += 1;
        self.run.events += 1;
        self.append(event, at);
    }

    fn append(&mut self, event: Event, at: DateTime<Utc>) {
        let seq = self.events.len() as u64 + 1;
        self.events.push(RecordedEvent { seq, at, event });
    }

    pub(super) fn apply(&mut self, changes: &Changes, now: DateTime<Utc>) {
        for node in &changes.collapsed {
            self.steps.retain(|(.., id), _| id.node != *node);
            self.checkpoints.retain(|(.., id), _| id.node != *node);
            self.artifacts.retain(|(.., id), _| id.node != *node);
            self.made.retain(|(.., id), _| id.node != *node);
        }
        if let Some(run) = &changes.run {
            self.run = Run {
                created_at: self.run.created_at,
                ..run.clone()
            };
        }
        self.arrange(&changes.nodes);
        let tickets = changes.tickets.iter();
        self.tickets
            .extend(tickets.map(|(node, ticket)| (node.clone(), ticket.clone())));
        for step in &changes.steps {
            self.save_step(step);
        }
        for node in &changes.untouched {
            let pending =
                |step: &&mut Step| step.id.node == node.name && step.status == StepStatus::Pending;
            for step in self.steps.values_mut().filter(pending) {
                step.status = node.status;
                step.reason.clone_from(&node.reason);
                step.ended_at = Some(now);
            }
        }
        for id in &changes.forgotten {
            self.forget(id);
        }
        for (id, keys) in &changes.dropped {
            let kept = self.artifacts.entry(self.key(id)).or_default();
            kept.retain(|(artifact, _)| !keys.contains(&artifact.key));
        }
        if let Some(amendments) = &changes.amendments {
            self.amendments = amendments.clone();
        }
        for id in &changes.cleared {
            let key = self.key(id);
            if let Some(step) = self.steps.get_mut(&key) {
                step.progress = None;
            }
            self.made.remove(&key);
        }
        for (id, made) in &changes.made {
            self.made.insert(self.key(id), made.clone());
        }
        self.apply_attempts(changes, now);
        for event in &changes.events {
            self.append(event.clone(), now);
        }
    }

    fn save_step(&mut self, step: &Step) {
        let key = self.key(&step.id);
        let made = self.attempts.get(&key).map_or(0, Vec::len);
        let made = u32::try_from(made).unwrap_or(u32::MAX);
        let mut row = step.clone();
        row.attempts = row.attempts.max(made);
        if let Some(before) = self.steps.get(&key) {
            row.progress = row.progress.or_else(|| before.progress.clone());
            row.input = row.input.or_else(|| before.input.clone());
        }
        self.steps.insert(key, row);
    }

    /// Another definition may give nodes other places.
    fn arrange(&mut self, nodes: &[Node]) {
        let names = |nodes: &[Node]| {
            nodes
                .iter()
                .map(|node| node.name.clone())
                .collect::<Vec<_>>()
        };
        let moved = names(&self.nodes) != names(nodes);
        self.nodes = nodes.to_vec();
        if moved {
            self.steps = self.placed(&self.steps);
            self.attempts = self.placed(&self.attempts);
            self.artifacts = self.placed(&self.artifacts);
            self.made = self.placed(&self.made);
            self.checkpoints = self.placed(&self.checkpoints);
            self.numbers = self.placed(&self.numbers);
        }
    }

    fn placed<T: Clone>(&self, rows: &BTreeMap<Key, T>) -> BTreeMap<Key, T> {
        let rows = rows.iter();
        rows.map(|((.., id), row)| (self.key(id), row.clone()))
            .collect()
    }

    fn apply_attempts(&mut self, changes: &Changes, now: DateTime<Utc>) {
        for end in &changes.attempts {
            let attempts = self.attempts.entry(self.key(&end.step)).or_default();
            attempts.push(end.attempt(now));
        }
        for (step, artifacts) in &changes.artifacts {
            let key = self.key(step);
            let kept = self.artifacts.entry(key).or_default();
            for new in artifacts {
                match kept.iter_mut().find(|(known, _)| known.key == new.key) {
                    Some((known, of_checkpoint)) => {
                        known.replace(new.clone());
                        *of_checkpoint = false;
                    }
                    None => kept.push((new.clone(), false)),
                }
            }
        }
    }

    fn forget(&mut self, id: &StepId) {
        let key = self.key(id);
        self.checkpoints.remove(&key);
        if let Some(kept) = self.artifacts.get_mut(&key) {
            kept.retain(|(_, of_checkpoint)| !of_checkpoint);
        }
        if let Some(step) = self.steps.get_mut(&key) {
            step.checkpoint = None;
            step.checkpoint_failures = 0;
        }
    }

    pub(super) fn save_checkpoint(
        &mut self,
        fence: &Fence,
        (new, now): (&NewCheckpoint, DateTime<Utc>),
    ) -> Result<u64, StoreError> {
        let attempt = self.owned(fence)?.attempts;
        let key = self.key(&fence.step);
        let value = self.content(&key, &new.content)?;
        let number = self.numbers.entry(key.clone()).or_default();
        *number += 1;
        let seq = *number;
        let checkpoint = Checkpoint {
            seq,
            value,
            covers: new.covers,
            compat: new.compat.clone(),
        };
        self.checkpoints.insert(key.clone(), checkpoint);
        let step = self.owned(fence)?;
        step.checkpoint = Some(Box::new(CheckpointHead {
            seq,
            covers_s: new.covers,
            attempt,
        }));
        step.losses = 0;
        step.outages = 0;
        step.checkpoint_failures = 0;
        let kept = self.artifacts.entry(key).or_default();
        for new in &new.artifacts {
            match kept.iter_mut().find(|(known, _)| known.key == new.key) {
                Some((known, _)) => known.replace(new.clone()),
                None => kept.push((new.clone(), true)),
            }
        }
        let event = Event {
            kind: "step.checkpoint".to_owned(),
            step: Some(fence.step.clone()),
            data: checkpoint_data(seq, (attempt, new)),
        };
        self.event(event, now);
        Ok(seq)
    }

    fn content(&self, key: &Key, content: &Content) -> Result<Value, StoreError> {
        let (from, by) = match content {
            Content::Whole(value) => return Ok(value.clone()),
            Content::Grown { from, by } => (*from, by.clone()),
        };
        let latest = self.checkpoints.get(key);
        let latest = latest.filter(|latest| latest.seq == from);
        let mismatch = || StoreError::Corrupt("it does not grow from the latest".to_owned());
        let mut value = latest.ok_or_else(mismatch)?.value.clone();
        by.apply(&mut value).map_err(|_| mismatch())?;
        Ok(value)
    }

    pub(super) fn refuse_checkpoint(
        &mut self,
        fence: &Fence,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let attempt = self.owned(fence)?.attempts;
        let key = self.key(&fence.step);
        let running = self.owned(fence)?.running.as_deref_mut();
        if running
            .and_then(|running| running.resumed_from.take())
            .is_none()
        {
            return Ok(());
        }
        let seq = self.checkpoints.get(&key).map(|checkpoint| checkpoint.seq);
        self.forget(&fence.step);
        let event = Event {
            kind: "step.checkpoint_dropped".to_owned(),
            step: Some(fence.step.clone()),
            data: json!({"attempt": attempt, "seq": seq, "reason": REFUSED}),
        };
        self.event(event, now);
        Ok(())
    }

    pub(super) fn save_plan(&mut self, plan: &RetryPlan) {
        for earlier in &mut self.plans {
            if earlier.state == PlanState::Proposed {
                earlier.state = PlanState::Superseded;
            }
        }
        let superseded = |plan: &RetryPlan| plan.state == PlanState::Superseded;
        let count = self.plans.iter().filter(|plan| superseded(plan)).count();
        let mut old = count.saturating_sub(limits::SUPERSEDED_PLANS as usize);
        self.plans.retain(|plan| {
            let goes = superseded(plan) && old > 0;
            old -= usize::from(goes);
            !goes
        });
        match self.plans.iter_mut().find(|known| known.id == plan.id) {
            Some(known) => *known = plan.clone(),
            None => self.plans.push(plan.clone()),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let record = |(key, step): (&Key, &Step)| {
            let artifacts = self.artifacts.get(key).into_iter().flatten();
            let mut record = StepRecord {
                step: step.clone(),
                attempts: self.attempts.get(key).cloned().unwrap_or_default(),
                artifacts: artifacts.map(|(artifact, _)| artifact.clone()).collect(),
                compat: self.checkpoints.get(key).map(|it| it.compat.clone()),
                made: self.made.get(key).cloned(),
            };
            record.add_running();
            record
        };
        let gone = self.attempts.iter();
        let gone = gone.filter(|(key, _)| !self.steps.contains_key(key));
        Snapshot {
            run: self.run.clone(),
            nodes: self.nodes.clone(),
            steps: self.steps.iter().map(record).collect(),
            former: gone
                .flat_map(|((.., id), attempts)| attempts.iter().map(|a| (id.clone(), a.clone())))
                .collect(),
            amendments: self.amendments.clone(),
        }
    }

    /// The part of it that is in a window.
    pub(super) fn outline(&self, window: &Window) -> Outline {
        let mut snapshot = self.snapshot();
        let mut former: BTreeMap<String, u32> = BTreeMap::new();
        for (id, _) in &snapshot.former {
            let length = former.entry(id.node.clone()).or_default();
            *length = (*length).max(id.item.map_or(0, |item| item + 1));
        }
        let cut = window.cut(&snapshot.nodes, &former);
        snapshot
            .steps
            .retain(|record| is_within(&cut.steps, &record.step.id));
        snapshot.former.retain(|(id, _)| is_within(&cut.steps, id));
        for record in &mut snapshot.steps {
            if !is_within(&cut.artifacts, &record.step.id) {
                record.artifacts.clear();
            }
        }
        Outline {
            snapshot,
            total: cut.total,
            last: cut.last,
        }
    }

    /// Running attempts of a session.
    pub(super) fn running_of(&self, session: &telecine_engine::id::SessionId) -> Vec<Fence> {
        let running = self.steps.values();
        let running = running.filter(|step| {
            step.running
                .as_ref()
                .is_some_and(|it| it.session == *session)
        });
        running.map(|step| fence(&self.run.id, step)).collect()
    }
}

fn is_within(stretches: &[Stretch], id: &StepId) -> bool {
    let item = id
        .item
        .map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX));
    stretches
        .iter()
        .any(|part| part.node == id.node && (part.first..=part.last).contains(&item))
}

fn checkpoint_data(seq: u64, (attempt, new): (u32, &NewCheckpoint)) -> Value {
    let keys: Vec<&str> = new.artifacts.iter().map(|a| a.key.as_str()).collect();
    json!({"attempt": attempt, "seq": seq, "covers_s": new.covers, "artifacts": keys})
}

pub(super) fn fence(run: &RunId, step: &Step) -> Fence {
    Fence {
        run: run.clone(),
        step: step.id.clone(),
        fence: step.fence,
    }
}
