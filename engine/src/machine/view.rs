use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::{Command, Rejected};
use crate::definition::{Definition, StepDef};
use crate::dispatch::Hint;
use crate::id::{RunId, StepId};
use crate::objects::StoredArtifact;
use crate::queue::{Kind, Ticket, Waiting, rank};
use crate::retry::reuse::Made;
use crate::run::{Amendments, Event, Node, Run, Step, StepStatus};
use crate::store::{AttemptEnd, NewRun, Shared, ViewRows};

/// Changed steps from which on those that wait for workers are not kept in memory twice: the store has them
/// then. A list of 100,000 takes 120 MB.
const MANY: usize = 1_000;
/// What a name takes, with the entry that it is the key of.
const NAME_BYTES: usize = 64;

/// The part of a run that a command is folded into.
#[derive(Debug, Clone)]
pub struct View {
    /// Header.
    pub run: Run,
    /// What the run executes.
    pub definition: Arc<Definition>,
    /// All nodes, in the order of the definition.
    pub nodes: IndexMap<String, Node>,
    /// What executed plans changed in it.
    pub amendments: Amendments,
    amended: bool,
    steps: BTreeMap<StepId, Step>,
    dirty_nodes: BTreeSet<String>,
    dirty_steps: BTreeSet<StepId>,
    changes: Changes,
}

/// What a fold changed: rows to write, and what to do next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Whether the run is new: `run` is to be inserted, and `steps` are all that are known.
    pub created: bool,
    /// The header, if anything changed.
    pub run: Option<Run>,
    /// All nodes, in the order of the definition.
    pub nodes: Vec<Node>,
    /// Steps that changed or are new.
    pub steps: Vec<Step>,
    /// Those of `steps` that are ready in the store.
    pub waited: BTreeSet<StepId>,
    /// What steps wait with that are ready in `steps`, by their node: each with that [of it](Ticket::of).
    pub tickets: BTreeMap<String, Ticket>,
    /// Nodes none of whose steps was touched: each of their pending steps takes the node's status
    /// and reason.
    pub untouched: Vec<Node>,
    /// Nodes whose steps are to be removed before `steps` are written: their list is read anew.
    pub collapsed: Vec<String>,
    /// Steps whose checkpoint and artifacts no longer count.
    pub forgotten: Vec<StepId>,
    /// Steps whose progress no longer counts.
    pub cleared: Vec<StepId>,
    /// Objects of steps that are not what was recorded, by key: their records go.
    pub dropped: Vec<(StepId, Vec<String>)>,
    /// What executed plans changed in the run, if they just did or what they wanted was done. Then the
    /// definition, the fingerprint, the queue and the priority of the run may have changed too.
    pub amendments: Option<Amendments>,
    /// Attempts that ended.
    pub attempts: Vec<AttemptEnd>,
    /// What steps left in the store.
    pub artifacts: Vec<(StepId, Vec<StoredArtifact>)>,
    /// What the reuse keys of steps are made of; those of [cleared](Changes::cleared) steps are forgotten
    /// before.
    pub made: Vec<(StepId, Made)>,
    /// What steps share with other runs.
    pub shared: Vec<(StepId, Shared)>,
    /// One per transition.
    pub events: Vec<Event>,
    /// Number of the first of them; the others follow.
    pub first_event: u64,
    /// To be folded next, in the same transaction; empty once flushed.
    pub follow_ups: Vec<Command>,
}

impl Changes {
    /// What there is to tell workers: the steps that can be claimed, by node.
    pub fn hints(&self, run: &RunId) -> impl Iterator<Item = Hint> {
        self.tickets.iter().map(move |(node, ticket)| {
            let of_node = self.steps.iter().filter(|step| step.id.node == *node);
            let ready = of_node.filter(|step| step.status == StepStatus::Ready);
            Hint {
                run: run.clone(),
                queue: ticket.kind.queue,
                steps: ready.count(),
            }
        })
    }

    /// Place of a node in the definition, from 0.
    #[must_use]
    pub fn place(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|known| known.name == node)
    }

    /// Whether some step becomes ready by itself later.
    #[must_use]
    pub fn has_timers(&self) -> bool {
        self.steps.iter().any(|step| step.due_at.is_some())
    }

    /// Whether the run stopped in this fold.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.status.is_stopped())
    }
}

impl View {
    /// A view of stored rows.
    #[must_use]
    pub fn new(rows: ViewRows, definition: Arc<Definition>) -> Self {
        Self {
            run: rows.run,
            definition,
            nodes: rows
                .nodes
                .into_iter()
                .map(|node| (node.name.clone(), node))
                .collect(),
            amendments: rows.amendments,
            amended: false,
            steps: BTreeMap::new(),
            dirty_nodes: BTreeSet::new(),
            dirty_steps: BTreeSet::new(),
            changes: Changes::default(),
        }
    }

    /// A view of a run that is not in the store yet: what is flushed first creates it.
    #[must_use]
    pub fn created(new: NewRun, definition: Arc<Definition>) -> Self {
        let NewRun { run, nodes, steps } = new;
        let rows = ViewRows {
            run,
            nodes,
            amendments: Amendments::default(),
        };
        let mut view = Self::new(rows, definition);
        view.changes.created = true;
        for step in steps {
            view.insert_step(step);
        }
        view
    }

    /// The view as it may be kept when everything is written: without what no command asks for again,
    /// the items of lists but for those that run. `None` if there is no use in that, because the run
    /// has stopped, or because it is not known what the store made of what was written: it gives the
    /// steps of a list that is read again the numbers of earlier attempts.
    pub(crate) fn keep(mut self) -> Option<Self> {
        if self.run.status.is_stopped() || self.run.round > 1 || self.is_dirty() {
            return None;
        }
        self.steps
            .retain(|id, step| id.item.is_none() || step.status == StepStatus::Running);
        Some(self)
    }

    /// About how much memory the view takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let nodes = self.nodes.len() * (size_of::<Node>() + NAME_BYTES);
        let steps = self.steps.values().map(|step| {
            let values = [step.input.as_ref(), step.output.as_ref()];
            let values = values.into_iter().flatten().map(weight).sum::<usize>();
            let error = step.error.as_deref().map_or(0, size_of_val);
            let progress = step.progress.as_deref().map_or(0, size_of_val);
            let checkpoint = step.checkpoint.as_deref().map_or(0, size_of_val);
            let running = step.running.as_deref().map_or(0, size_of_val);
            size_of::<Step>() + NAME_BYTES + values + error + progress + checkpoint + running
        });
        size_of::<Self>() + nodes + steps.sum::<usize>() + weight(&self.run.input)
    }

    /// The only steps of nodes that are not settled, as far as they are called by their node.
    pub(crate) fn unsettled_singles(&self) -> impl Iterator<Item = StepId> {
        let nodes = self.nodes.values();
        let nodes = nodes.filter(|node| !node.status.is_settled() && node.total == Some(1));
        nodes.map(|node| StepId::single(&node.name))
    }

    /// Adds stored steps, unless the view has newer ones.
    pub fn add_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.add_step(step);
        }
    }

    /// Adds a stored step, unless the view has a newer one.
    pub fn add_step(&mut self, step: Step) {
        self.steps.entry(step.id.clone()).or_insert(step);
    }

    /// A loaded step.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.get(id)
    }

    /// The loaded steps.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.values()
    }

    /// What the definition says of a node.
    pub(super) fn definition_of(&self, node: &str) -> Result<&StepDef, Rejected> {
        self.definition
            .steps
            .get(node)
            .ok_or_else(|| Rejected::Conflict(format!("the definition has no step {node}")))
    }

    /// A loaded step, to be changed.
    pub(super) fn step_mut(&mut self, id: &StepId) -> Result<&mut Step, Rejected> {
        let step = self
            .steps
            .get_mut(id)
            .ok_or_else(|| Rejected::Conflict(format!("the job has no step {id}")))?;
        if self.dirty_steps.insert(id.clone()) && step.status == StepStatus::Ready {
            self.changes.waited.insert(id.clone());
        }
        step.round = self.run.round;
        Ok(step)
    }

    /// The running step whose fence this is.
    pub(super) fn owned(&mut self, id: &StepId, fence: u64) -> Result<&mut Step, Rejected> {
        let owned = self
            .steps
            .get(id)
            .is_some_and(|step| step.status == StepStatus::Running && step.fence == fence);
        if owned {
            self.step_mut(id)
        } else {
            Err(Rejected::Fenced)
        }
    }

    /// A node, to be changed.
    pub(super) fn node_mut(&mut self, name: &str) -> Result<&mut Node, Rejected> {
        self.dirty_nodes.insert(name.to_owned());
        self.nodes
            .get_mut(name)
            .ok_or_else(|| Rejected::Conflict(format!("the job has no step {name}")))
    }

    /// Puts a new step in.
    pub(super) fn insert_step(&mut self, step: Step) {
        self.dirty_steps.insert(step.id.clone());
        self.steps.insert(step.id.clone(), step);
    }

    /// Removes all steps of a node.
    pub(super) fn collapse(&mut self, node: &str) {
        self.steps.retain(|id, _| id.node != node);
        self.dirty_steps.retain(|id| id.node != node);
        self.changes.collapsed.push(node.to_owned());
    }

    /// What executed plans changed in the run, to be changed.
    pub(super) fn amend(&mut self) -> &mut Amendments {
        self.amended = true;
        &mut self.amendments
    }

    /// What has been recorded besides changed rows.
    pub(super) fn record(&mut self) -> &mut Changes {
        &mut self.changes
    }

    /// Records an event.
    pub(super) fn event(&mut self, kind: &str, step: Option<StepId>, data: Value) {
        self.changes.events.push(Event {
            kind: kind.to_owned(),
            step,
            data,
        });
    }

    /// Steps that became ready and were not written yet; of each node the first `limit`.
    pub fn opened(&self, limit: usize) -> impl Iterator<Item = Waiting> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let steps = self.dirty_steps.iter().filter_map(|id| self.steps.get(id));
        let ready = steps.filter(|step| step.status == StepStatus::Ready);
        ready.filter_map(move |step| {
            let seen = seen.entry(&step.id.node).or_default();
            *seen += 1;
            (*seen <= limit).then(|| self.waiting(&step.id)).flatten()
        })
    }

    /// A loaded step as it waits.
    #[must_use]
    pub fn waiting(&self, id: &StepId) -> Option<Waiting> {
        Some(Waiting {
            run: self.run.id.clone(),
            step: id.clone(),
            position: self.place(&id.node)?,
            ticket: self.ticket(&id.node)?.of(self.step(id)?),
        })
    }

    fn is_ready(&self, id: &StepId) -> bool {
        let step = self.steps.get(id);
        step.is_some_and(|step| step.status == StepStatus::Ready)
    }

    /// What the steps of a node wait with that do not run alone.
    #[must_use]
    pub fn ticket(&self, node: &str) -> Option<Ticket> {
        let step = self.definition.steps.get(node)?;
        let priority = step.priority.unwrap_or(self.run.priority);
        Some(Ticket {
            kind: Kind::of(step, &self.run),
            rank: rank(self.run.created_at, priority),
        })
    }

    /// Place of a node in the definition, from 0.
    #[must_use]
    pub fn place(&self, node: &str) -> Option<usize> {
        self.nodes.get_index_of(node)
    }

    /// Whether there is anything to write.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changes.created
            || !self.dirty_nodes.is_empty()
            || !self.dirty_steps.is_empty()
            || !self.changes.events.is_empty()
            || self.amended
    }

    /// How much has changed so far; grows with every change.
    #[must_use]
    pub(crate) fn changed(&self) -> usize {
        self.dirty_nodes.len() + self.dirty_steps.len() + self.changes.events.len()
    }

    /// What a settled node gave: the output of a single step, `null` of one that has none and of a list
    /// that was never read. `None` if only the store knows.
    #[must_use]
    pub fn output(&self, node: &str) -> Option<Value> {
        match self.nodes.get(node)?.total {
            None => return Some(Value::Null),
            Some(0) => return Some(Value::Array(Vec::new())),
            Some(_) => {}
        }
        let step = self.steps.get(&StepId::single(node))?;
        match step.status {
            StepStatus::Succeeded => step.output.clone(),
            _ => None,
        }
    }

    /// Takes the follow-ups that wait to be folded.
    pub fn take_follow_ups(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.changes.follow_ups)
    }

    /// Takes everything that changed since the last flush; the revision has grown by one if
    /// anything did. The view stays usable; of very many steps that are ready, it has none any more.
    #[must_use]
    pub fn flush(&mut self) -> Changes {
        self.run.revision += u64::from(self.is_dirty());
        let mut changes = std::mem::take(&mut self.changes);
        self.changes.follow_ups = std::mem::take(&mut changes.follow_ups);
        self.dirty_nodes.clear();
        changes.nodes = self.nodes.values().cloned().collect();
        let steps = std::mem::take(&mut self.dirty_steps);
        let many = steps.len() > MANY;
        let take = |id: &StepId| match many && id.item.is_some() && self.is_ready(id) {
            true => self.steps.remove(id),
            false => self.steps.get(id).cloned(),
        };
        changes.steps = steps.iter().filter_map(take).collect();
        for step in &changes.steps {
            let node = &step.id.node;
            if step.status == StepStatus::Ready && !changes.tickets.contains_key(node) {
                let ticket = self.ticket(node);
                let ticket = ticket.map(|ticket| (node.clone(), ticket));
                changes.tickets.extend(ticket);
            }
        }
        // The store writes their steps, which this view may have as they were.
        for node in &changes.untouched {
            self.steps.remove(&StepId::single(&node.name));
        }
        if std::mem::take(&mut self.amended) {
            changes.amendments = Some(self.amendments.clone());
        }
        changes.first_event = self.run.events + 1;
        self.run.events += changes.events.len() as u64;
        changes.run = Some(self.run.clone());
        changes
    }
}

/// About how much memory a value takes, in bytes.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| NAME_BYTES + name.len() + weight(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + inside
}
