use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use telecine_engine::activity::compat;
use telecine_engine::definition::Definition;
use telecine_engine::id::{PlanId, SessionId, StepId};
use telecine_engine::machine::{self, Changes, Command, Facts, Rejected, View};
use telecine_engine::objects::StoredArtifact;
use telecine_engine::retry::plan::{self, Given, RetryPlan};
use telecine_engine::retry::reuse::Beside;
use telecine_engine::run::{
    Amendments, Attempt, AttemptOutcome, CheckpointHead, Event, Node, Run, Snapshot, Step,
    StepRecord, StepStatus,
};
use telecine_engine::store::{NewRun, StepSet, ViewRows};

use super::States;

/// The rows of one run, kept the way a store keeps them.
#[derive(Debug, Clone)]
pub struct Model {
    /// Header.
    pub run: Run,
    /// Nodes in the order of the definition.
    pub nodes: Vec<Node>,
    /// Steps by id.
    pub steps: BTreeMap<StepId, Step>,
    /// Everything that happened.
    pub events: Vec<Event>,
    attempts: BTreeMap<StepId, Vec<Attempt>>,
    amendments: Amendments,
    /// Objects of steps, by step.
    pub artifacts: BTreeMap<StepId, Vec<StoredArtifact>>,
    compats: BTreeMap<StepId, String>,
    definition: Arc<Definition>,
    /// What a plan gives the run instead.
    next: Option<Arc<Definition>>,
    now: DateTime<Utc>,
    session: SessionId,
}

impl Model {
    /// A run that was just accepted and started.
    ///
    /// # Panics
    /// If the machine refuses to start it.
    #[must_use]
    pub fn start(run: Run, definition: Arc<Definition>) -> Self {
        let now = run.created_at;
        let NewRun { run, nodes, steps } = machine::plan_run(run, &definition, now);
        let mut model = Self {
            run,
            nodes,
            steps: steps
                .into_iter()
                .map(|step| (step.id.clone(), step))
                .collect(),
            events: Vec::new(),
            attempts: BTreeMap::new(),
            amendments: Amendments::default(),
            artifacts: BTreeMap::new(),
            compats: BTreeMap::new(),
            definition,
            next: None,
            now,
            session: SessionId::generate(),
        };
        model.fold(&Command::Start).expect("a new run starts");
        model
    }

    /// Folds a command and what follows from it, as the committer does.
    ///
    /// # Errors
    /// What the machine refuses; nothing has changed then.
    ///
    /// # Panics
    /// If the machine refuses what follows from an accepted command, or events do not tell what has
    /// changed.
    pub fn fold(&mut self, command: &Command) -> Result<(), Rejected> {
        let (before, known) = (self.states(), self.events.len());
        self.fold_all(command)?;
        let plan = match command {
            Command::Reopen { plan } => Some(plan.as_ref()),
            _ => None,
        };
        if plan.is_some_and(|plan| plan.changes.is_some()) {
            self.definition = self.next.take().expect("a definition");
        }
        let events: Vec<&Event> = self.events[known..].iter().collect();
        let told = before.audit(&events, (&self.states(), plan));
        told.unwrap_or_else(|why| panic!("{command:?}: {why}"));
        Ok(())
    }

    /// Before its first event, a run has no states.
    fn states(&self) -> States {
        match self.events.is_empty() {
            true => States::default(),
            false => States::of(&self.run, &self.nodes, self.steps.values()),
        }
    }

    fn fold_all(&mut self, command: &Command) -> Result<(), Rejected> {
        let rows = ViewRows {
            run: self.run.clone(),
            nodes: self.nodes.clone(),
            amendments: self.amendments.clone(),
        };
        let mut view = View::new(rows, self.definition.clone());
        self.decide(&mut view, command)?;
        let mut queue = view.take_follow_ups();
        while !queue.is_empty() {
            for command in std::mem::take(&mut queue) {
                self.apply(&view.flush());
                self.decide(&mut view, &command)
                    .expect("what follows is never refused");
                queue.extend(view.take_follow_ups());
            }
        }
        self.apply(&view.flush());
        Ok(())
    }

    fn decide(&self, view: &mut View, command: &Command) -> Result<(), Rejected> {
        view.add_steps(self.load(&machine::steps_needed(command)));
        let outputs = machine::outputs_needed(view, command)
            .into_iter()
            .map(|node| (node.clone(), self.output(&node)))
            .collect();
        machine::decide(
            view,
            command,
            &Facts {
                now: self.now,
                outputs,
                definition: self.next.clone(),
            },
        )
    }

    fn load(&self, which: &StepSet) -> Vec<Step> {
        let wanted = |step: &&Step| match which {
            StepSet::Empty => false,
            StepSet::One(id) => step.id == *id,
            StepSet::Unsettled => !step.status.is_settled(),
            StepSet::All => true,
        };
        self.steps.values().filter(wanted).cloned().collect()
    }

    fn output(&self, node: &str) -> Value {
        let of_node = || self.steps.values().filter(|step| step.id.node == node);
        let output = |step: &Step| match step.status {
            StepStatus::Succeeded => step.output.clone().unwrap_or_default(),
            _ => Value::Null,
        };
        match of_node().next() {
            Some(step) if step.id.item.is_none() => output(step),
            Some(_) => Value::Array(of_node().map(output).collect()),
            None if self.status_of(node) == Some(StepStatus::Succeeded) => Value::Array(Vec::new()),
            None => Value::Null,
        }
    }

    /// State of a node.
    #[must_use]
    pub fn status_of(&self, node: &str) -> Option<StepStatus> {
        self.nodes
            .iter()
            .find(|row| row.name == node)
            .map(|row| row.status)
    }

    fn apply(&mut self, changes: &Changes) {
        self.forget(changes);
        if let Some(run) = &changes.run {
            self.run = run.clone();
        }
        if let Some(amendments) = &changes.amendments {
            self.amendments = amendments.clone();
        }
        self.nodes.clone_from(&changes.nodes);
        for step in &changes.steps {
            let made = self.attempts.get(&step.id).map_or(0, Vec::len);
            let mut step = step.clone();
            step.attempts = step.attempts.max(u32::try_from(made).unwrap_or(u32::MAX));
            self.steps.insert(step.id.clone(), step);
        }
        for node in &changes.untouched {
            let pending =
                |step: &&mut Step| step.id.node == node.name && step.status == StepStatus::Pending;
            for step in self.steps.values_mut().filter(pending) {
                step.status = node.status;
                step.reason.clone_from(&node.reason);
            }
        }
        for (id, made) in &changes.artifacts {
            let kept = self.artifacts.entry(id.clone()).or_default();
            kept.retain(|known| made.iter().all(|new| new.key != known.key));
            kept.extend(made.iter().cloned());
        }
        for end in &changes.attempts {
            let attempts = self.attempts.entry(end.step.clone()).or_default();
            attempts.push(end.attempt(self.now));
        }
        self.events.extend(changes.events.iter().cloned());
    }

    /// Steps in a state.
    #[must_use]
    pub fn having(&self, status: StepStatus) -> Vec<StepId> {
        self.steps
            .values()
            .filter(|step| step.status == status)
            .map(|s| s.id.clone())
            .collect()
    }

    /// Names the definition that the next plan may give the run.
    pub fn offer(&mut self, next: Option<Arc<Definition>>) {
        self.next = next;
    }

    /// Claims a ready step and answers its fence.
    ///
    /// # Panics
    /// If there is no such step or it is not ready.
    pub fn claim(&mut self, id: &StepId) -> u64 {
        let claim = Command::Claim {
            step: id.clone(),
            session: self.session.clone(),
        };
        self.fold(&claim).expect("a ready step can be claimed");
        self.steps[id].fence
    }

    /// What no longer counts.
    fn forget(&mut self, changes: &Changes) {
        for node in &changes.collapsed {
            self.steps.retain(|id, _| id.node != *node);
            self.artifacts.retain(|id, _| id.node != *node);
            self.compats.retain(|id, _| id.node != *node);
        }
        for id in &changes.forgotten {
            self.artifacts.remove(id);
            self.compats.remove(id);
        }
        for (id, keys) in &changes.dropped {
            let kept = self.artifacts.entry(id.clone()).or_default();
            kept.retain(|artifact| !keys.contains(&artifact.key));
        }
    }

    /// A running step saves a checkpoint that stands on an object.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn save_checkpoint(&mut self, id: &StepId, fingerprint: &str, object: StoredArtifact) {
        let step = self.steps.get_mut(id).expect("a step");
        let seq = step.checkpoint.as_ref().map_or(1, |it| it.seq + 1);
        step.checkpoint = Some(Box::new(CheckpointHead {
            seq,
            covers_s: None,
            attempt: step.attempts,
        }));
        step.losses = 0;
        step.outages = 0;
        let input = step.input.clone().unwrap_or_default();
        let compat = compat(&step.activity, fingerprint, &input, &Beside::new());
        self.compats.insert(id.clone(), compat);
        self.artifacts.entry(id.clone()).or_default().push(object);
        self.run.revision += 1;
    }

    /// Objects that a step is to make again.
    #[must_use]
    pub fn damaged(&self, id: &StepId) -> Vec<String> {
        self.amendments.damaged.get(id).cloned().unwrap_or_default()
    }

    /// What the run executes.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The whole run.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let place = |step: &&Step| self.nodes.iter().position(|node| node.name == step.id.node);
        let mut steps: Vec<&Step> = self.steps.values().collect();
        steps.sort_by_key(place);
        let steps = steps.into_iter().map(|step| {
            let mut record = StepRecord {
                step: step.clone(),
                attempts: self.attempts.get(&step.id).cloned().unwrap_or_default(),
                artifacts: self.artifacts.get(&step.id).cloned().unwrap_or_default(),
                compat: self.compats.get(&step.id).cloned(),
                made: None,
            };
            record.add_running();
            record
        });
        Snapshot {
            run: self.run.clone(),
            nodes: self.nodes.clone(),
            steps: steps.collect(),
            former: self.former(),
            amendments: self.amendments.clone(),
        }
    }

    /// What executed plans changed.
    #[must_use]
    pub fn amendments(&self) -> &Amendments {
        &self.amendments
    }

    fn former(&self) -> Vec<(StepId, Attempt)> {
        let gone = self.attempts.iter();
        gone.filter(|(id, _)| !self.steps.contains_key(id))
            .flat_map(|(id, attempts)| attempts.iter().map(|a| (id.clone(), a.clone())))
            .collect()
    }

    /// The retry plan of the run as it is.
    #[must_use]
    pub fn plan(&self) -> RetryPlan {
        let snapshot = self.snapshot();
        plan::compute(PlanId::generate(), Given::of(&snapshot, &self.definition))
    }

    /// What must hold in every state.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        for node in &self.nodes {
            self.check_node(node);
        }
        let moving = self.steps.values().any(|step| {
            matches!(
                step.status,
                StepStatus::Ready | StepStatus::Running | StepStatus::Backoff
            )
        });
        assert!(
            moving || self.run.status.is_stopped(),
            "the run is {} but nothing can move it",
            self.run.status
        );
        for attempts in self.attempts.values() {
            let succeeded = attempts
                .iter()
                .filter(|attempt| attempt.outcome == Some(AttemptOutcome::Succeeded))
                .map(|attempt| attempt.round);
            let mut rounds: Vec<u32> = succeeded.collect();
            rounds.dedup();
            assert_eq!(
                rounds.len(),
                attempts
                    .iter()
                    .filter(|attempt| attempt.outcome == Some(AttemptOutcome::Succeeded))
                    .count(),
                "a step succeeds at most once in a round"
            );
        }
    }

    fn check_node(&self, node: &Node) {
        if node.status != StepStatus::Ready {
            return;
        }
        let of_node: Vec<_> = self
            .steps
            .values()
            .filter(|step| step.id.node == node.name)
            .collect();
        let settled = of_node
            .iter()
            .filter(|step| step.status.is_settled())
            .count();
        assert_eq!(
            node.settled as usize, settled,
            "{} counts its settled steps",
            node.name
        );
        assert_eq!(
            node.total,
            u32::try_from(of_node.len()).ok(),
            "{} counts its steps",
            node.name
        );
    }
}
