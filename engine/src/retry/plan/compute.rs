//! The computation itself: node by node in the order of the definition, so that what a node needs is
//! known before it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::beside::Fit;
use super::digest::Essence;
use super::edited::{Asked, Wanted};
use super::{
    Action, ArtifactProof, Attempts, Basis, PlanState, PlannedStep, Proof, Reason, RetryPlan,
    prospect, warnings,
};
use crate::activity::ErrorClass;
use crate::definition::{Definition, OnFailure, StepDef};
use crate::id::{PlanId, StepId};
use crate::machine::reading::Reading;
use crate::retry::adoption::Adoption;
use crate::retry::edits::{Edit, EditError, RecordedEdit};
use crate::retry::policy::{OBJECT_ARCHIVED, OBJECT_MISSING, PART_OF_THE_JOB};
use crate::retry::reuse;
use crate::retry::world::{Identity, Source, Verdict, World, fingerprint};
use crate::run::{Failure, Node, Run, Snapshot, StepRecord, StepStatus};

/// Why an edit cannot be followed as it is given.
const EDIT_IMPOSSIBLE: &str = "edit_impossible";

/// What a plan is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The run, which has stopped.
    pub snapshot: &'a Snapshot,
    /// What it executes.
    pub definition: &'a Definition,
    /// What it is to execute instead.
    pub onto: Option<&'a Definition>,
    /// What is known of all else.
    pub world: &'a World,
    /// What somebody wants to be otherwise.
    pub edits: &'a [RecordedEdit],
}

impl<'a> Given<'a> {
    /// A run of which nothing else is known.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, definition: &'a Definition) -> Self {
        Self {
            snapshot,
            definition,
            onto: None,
            world: World::UNKNOWN,
            edits: &[],
        }
    }
}

/// An edit that a plan cannot follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unmet {
    /// The edit.
    pub(crate) edit: Edit,
    /// What kind of obstacle, `snake_case`.
    pub(crate) code: &'static str,
    /// Why, as one sentence.
    pub(crate) why: String,
}

/// A plan, and the edits that it could not follow.
#[derive(Debug)]
pub(crate) struct Computed {
    /// The plan.
    pub(crate) plan: RetryPlan,
    /// The edits.
    pub(crate) unmet: Vec<Unmet>,
}

/// Computes the plan of a stopped run. `id` becomes the plan's; everything else follows from what is
/// given.
#[must_use]
pub fn compute(id: PlanId, given: Given<'_>) -> RetryPlan {
    compute_checked(id, given).plan
}

/// The same, and which edits it could not follow.
pub(crate) fn compute_checked(id: PlanId, given: Given<'_>) -> Computed {
    let Some(onto) = given.onto else {
        return finish(id, given, Planner::new(given, None));
    };
    match Adoption::of(given.snapshot, given.definition, onto) {
        Ok(adoption) => {
            let adopted = Given {
                snapshot: &adoption.snapshot,
                definition: onto,
                ..given
            };
            finish(id, given, Planner::new(adopted, Some(&adoption)))
        }
        // It was accepted once, and is none any more.
        Err(errors) => {
            let mut planner = Planner::new(given, None);
            planner.unmet = unmet(given.edits, &errors);
            finish(id, given, planner)
        }
    }
}

fn unmet(edits: &[RecordedEdit], errors: &[EditError]) -> Vec<Unmet> {
    let mut edits = edits.iter().map(|recorded| &recorded.edit);
    let edit = edits.find(|edit| matches!(edit, Edit::Definition { .. }));
    let of_each = edit.into_iter().flat_map(|edit| {
        errors.iter().map(|error| Unmet {
            edit: edit.clone(),
            code: error.code,
            why: error.message.clone(),
        })
    });
    of_each.collect()
}

/// Plans step by step; `given` is the run as it is stored.
fn finish(id: PlanId, given: Given<'_>, mut planner: Planner<'_>) -> Computed {
    let (seen, adoption) = (planner.given, planner.adoption);
    let steps: Vec<PlannedStep> = seen
        .definition
        .steps
        .iter()
        .flat_map(|(name, definition)| planner.plan_node(name, definition))
        .collect();
    let goes_out = planner.fates.values().any(|fate| *fate == Fate::Out);
    let unmade = planner.unmade(&steps);
    planner.blame(&unmade, &steps);
    let republished = planner.republished(&steps, given.definition);
    planner.blame_for(&republished);
    let told = planner.told(&steps);
    let lacking = planner.lacking(&steps);
    let replacements = planner.replacements(&steps);
    let unmet = planner.unmet;
    let run = &given.snapshot.run;
    let basis = Basis {
        revision: run.revision,
        round: run.round,
        definition: format!("{}@{} {}", run.workflow, run.version, run.definition),
    };
    let changes = adoption.map(|adoption| adoption.changes.clone());
    let identity = identity(&seen, changes.is_some());
    let stranded = changes.is_some() && identity.is_none();
    let executable = !stranded
        && unmade.failing.is_empty()
        && republished.is_empty()
        && is_executable(&steps, (given.edits, changes.is_some() || goes_out));
    let digest = Essence::of(&basis, &steps)
        .with(given.edits, identity.as_ref())
        .made_of(&replacements)
        .becoming(changes.as_ref())
        .digest();
    let plan = RetryPlan {
        id,
        job: run.id.clone(),
        digest,
        state: PlanState::Proposed,
        executable,
        summary: prospect::summarise(&steps, &seen),
        warnings: warnings::warnings(
            (&steps, executable),
            (&seen, stranded),
            (&unmade, &republished, &lacking),
            (&unmet, &told),
        ),
        basis,
        steps,
        edits: given.edits.to_vec(),
        changes,
        identity,
        verified: given.world.verified,
        corrupt: given.world.corrupt(),
        executed_by: None,
    };
    Computed { plan, unmet }
}

/// What the run becomes by executing the plan. `None` if that is what it is, or if it takes another
/// definition and its source is not known.
fn identity(given: &Given<'_>, moves: bool) -> Option<Identity> {
    let World { source, found, .. } = given.world;
    if !moves {
        return match source {
            Source::Replaced(identity) => Some(identity.clone()),
            _ => None,
        };
    }
    let Run {
        definition,
        input,
        stores,
        ..
    } = &given.snapshot.run;
    let key = input.get("source").and_then(Value::as_str);
    if key.is_some() && found.is_none() {
        return None;
    }
    let found = found.as_ref().filter(|_| key.is_some());
    Some(Identity {
        fingerprint: fingerprint((definition, input), stores, found),
        source: key.map(str::to_owned),
        size: found.map(|found| found.size),
        etag: found.map(|found| found.etag.clone()),
    })
}

/// Whether executing the plan can bring the run to success.
fn is_executable(steps: &[PlannedStep], (edits, moves): (&[RecordedEdit], bool)) -> bool {
    let settles = |edit: &Edit| matches!(edit, Edit::Skip { .. } | Edit::Supply { .. });
    let moves = moves
        || steps.iter().any(PlannedStep::runs)
        || edits.iter().any(|recorded| settles(&recorded.edit));
    moves && !steps.iter().any(|step| step.action == Action::Blocked)
}

/// What a node does as far as the nodes that need it are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its output stays.
    Kept,
    /// It has another output then, or may have.
    Changes,
    /// It stays out, and did not before.
    Out,
    /// It stays out as before: nothing changes for those that can do without it, and the others stay
    /// out too.
    Absent,
    /// It cannot run.
    Blocked,
}

/// What a step does, and why.
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) reason: Reason,
    damaged: Vec<String>,
}

impl Decision {
    pub(super) fn of(action: Action, reason: Reason) -> Self {
        Self {
            action,
            reason,
            damaged: Vec::new(),
        }
    }
}

pub(super) struct Planner<'a> {
    /// The run as its next definition sees it.
    pub(super) given: Given<'a>,
    pub(super) adoption: Option<&'a Adoption>,
    pub(super) nodes: BTreeMap<&'a str, &'a Node>,
    records: BTreeMap<&'a str, Vec<&'a StepRecord>>,
    pub(super) wanted: Wanted<'a>,
    fates: BTreeMap<&'a str, Fate>,
    /// Nodes that are out by a condition.
    shut: BTreeSet<&'a str>,
    /// Nodes that led to what is published.
    pub(super) led: BTreeSet<&'a str>,
    pub(super) unmet: Vec<Unmet>,
}

impl<'a> Planner<'a> {
    fn new(given: Given<'a>, adoption: Option<&'a Adoption>) -> Self {
        let records = given.snapshot.by_node();
        let nodes = given.snapshot.nodes.iter();
        let mut planner = Self {
            given,
            adoption,
            nodes: nodes.map(|node| (node.name.as_str(), node)).collect(),
            records,
            wanted: Wanted::by(given.edits),
            fates: BTreeMap::new(),
            shut: BTreeSet::new(),
            led: BTreeSet::new(),
            unmet: Vec::new(),
        };
        planner.led = planner.led();
        planner
    }

    fn plan_node(&mut self, name: &'a str, definition: &'a StepDef) -> Vec<PlannedStep> {
        let Some(node) = self.nodes.get(name).copied() else {
            return Vec::new();
        };
        let asked = self.wanted.of_node(name);
        let by_operator = || {
            let out = Decision::of(Action::Skip, Reason::SkippedByOperator);
            PlannedStep {
                why: self.why(&StepId::single(name), node.reason.as_deref()),
                ..group(node, out)
            }
        };
        let steps = match self.upstream(definition) {
            _ if asked.skip => vec![by_operator()],
            _ if asked.supply => {
                let supplied = Decision::of(Action::Reuse, Reason::SuppliedByOperator);
                vec![group(node, supplied)]
            }
            _ if self.stays_out(node, asked) => vec![by_operator()],
            (Fate::Blocked, because) => {
                let blocked = Decision::of(Action::Blocked, Reason::UpstreamBlocked);
                vec![group(node, blocked).due_to(because)]
            }
            (Fate::Out, because) => vec![self.out_with(node, because)],
            (Fate::Absent, because) => self.behind_absent((node, definition), because),
            (Fate::Changes, because) => vec![self.read_anew(node, definition).due_to(because)],
            (Fate::Kept, _) => self.as_it_is((node, definition), asked),
        };
        let fate = self.fate_of(node, &steps);
        if is_out(&steps) && steps[0].reason == Reason::ConditionFalse {
            self.shut.insert(name);
        }
        self.note_unmet(name, &steps);
        self.fates.insert(name, fate);
        steps
    }

    /// Whether somebody left a node out in an earlier round, and nobody wants it back.
    fn stays_out(&self, node: &Node, asked: Asked) -> bool {
        let out = &self.given.snapshot.amendments.out;
        out.contains(&StepId::single(&node.name)) && !asked.runs()
    }

    /// A node that is left out together with others that it needs.
    fn out_with(&self, node: &Node, because: Vec<StepId>) -> PlannedStep {
        let by_condition = |id: &StepId| self.shut.contains(id.node.as_str());
        let reason = match because.iter().all(by_condition) {
            true => Reason::ConditionFalse,
            false => Reason::SkippedByOperator,
        };
        group(node, Decision::of(Action::Skip, reason)).due_to(because)
    }

    /// A node that needs others which stay out as before. One that has a result all the same, because
    /// somebody supplied it, keeps it; it can be nothing but left out when it is to run.
    fn behind_absent(
        &self,
        (node, definition): (&Node, &StepDef),
        because: Vec<StepId>,
    ) -> Vec<PlannedStep> {
        if node.status == StepStatus::Succeeded {
            let kept = self.as_it_is((node, definition), Asked::default());
            if !kept.iter().any(PlannedStep::runs) {
                return kept;
            }
        }
        vec![self.out_with(node, because)]
    }

    /// A node all of whose needs stay as they are.
    fn as_it_is(&self, (node, definition): (&Node, &StepDef), asked: Asked) -> Vec<PlannedStep> {
        let set = asked.set
            && self
                .steps_of(&node.name)
                .all(|record| self.sets_anew(record));
        let asked = Asked {
            set: asked.set && (definition.for_each.is_some() || set),
            ..asked
        };
        // Whoever wants it to run cannot want its condition to be true. It has an output all the same if somebody
        // supplied it.
        let shut = || matches!(self.read(&node.name, definition), Ok(Reading::Skip));
        if asked.runs() && shut() {
            return vec![group(
                node,
                Decision::of(Action::Skip, Reason::ConditionFalse),
            )];
        }
        match self.by_definition((node, definition), asked) {
            Some(step) => vec![step],
            None => self.plan_steps(node, definition),
        }
    }

    /// Whether what is set now gives a step another input than it has.
    fn sets_anew(&self, record: &StepRecord) -> bool {
        let Some(before) = &record.step.input else {
            return true;
        };
        let mut now = before.clone();
        let put = self.wanted.sets.apply(&record.step.id, &mut now);
        put.is_err() || now != *before
    }

    /// What a node does as far as those that need it are concerned.
    fn fate_of(&self, node: &Node, steps: &[PlannedStep]) -> Fate {
        if steps.iter().any(|step| step.action == Action::Blocked) {
            return Fate::Blocked;
        }
        if is_out(steps) {
            // Those that could do without it have done so already.
            let on_failure = self.given.definition.steps.get(&node.name);
            let tolerated = on_failure.is_some_and(|it| it.on_failure == OnFailure::Continue);
            return match node.status {
                StepStatus::Skipped => Fate::Absent,
                StepStatus::Failed if tolerated => Fate::Absent,
                _ => Fate::Out,
            };
        }
        let was_out = |step: &PlannedStep| self.given.snapshot.amendments.out.contains(&step.id);
        let changes = |step: &PlannedStep| match step.reason {
            Reason::SuppliedByOperator => true,
            Reason::SkippedByOperator => !was_out(step),
            _ => step.runs(),
        };
        match steps.iter().any(changes) {
            true => Fate::Changes,
            false => Fate::Kept,
        }
    }

    /// Who left a step out, and why: by the edits, or as it was `recorded` in an earlier round.
    fn why(&self, step: &StepId, recorded: Option<&str>) -> Option<String> {
        let mut edits = self.given.edits.iter();
        let now =
            edits.find_map(|edit| (edit.edit.step() == Some(step)).then(|| edit.left_out())?);
        now.or_else(|| recorded.map(str::to_owned))
    }

    /// Edits of single items come to nothing where all of them are made anew, and none of a list that somebody
    /// supplied runs by itself.
    fn note_unmet(&mut self, name: &str, steps: &[PlannedStep]) {
        if self.wanted.of_items(name).next().is_none() {
            return;
        }
        let anew = |step: &PlannedStep| step.id.item.is_none() && step.runs();
        let anew = steps.iter().any(anew);
        let supplied = self.is_supplied_list(name);
        let is_unmet = |edit: &Edit| match edit {
            Edit::Force { .. } => supplied && !anew,
            Edit::Set { .. } | Edit::Unset { .. } => supplied || anew,
            _ => anew,
        };
        let edits = self.given.edits.iter().map(|recorded| &recorded.edit);
        let of_item = |edit: &&Edit| {
            let item = edit.step().filter(|step| step.item.is_some());
            item.is_some_and(|step| step.node == name) && is_unmet(edit)
        };
        let unmet = edits.filter(of_item).filter_map(|edit| {
            let step = edit.step()?;
            let why = match anew {
                true => format!(
                    "the list of {name} is read again, so that nobody knows what {step} will be: name {name} instead"
                ),
                false => format!(
                    "somebody supplied the list of {name}, so that nobody knows what {step} would be made of: name {name} instead"
                ),
            };
            let (edit, code) = (edit.clone(), EDIT_IMPOSSIBLE);
            Some(Unmet { edit, code, why })
        });
        self.unmet.extend(unmet);
    }

    /// The strongest fate among the nodes that a node needs, and which have it.
    fn upstream(&self, definition: &StepDef) -> (Fate, Vec<StepId>) {
        let having = |wanted: &dyn Fn(Fate, bool) -> bool| -> Vec<StepId> {
            let needs = definition.needs.iter().filter(|need| {
                let fate = self.fates.get(need.step.as_str());
                fate.is_some_and(|fate| wanted(*fate, need.any))
            });
            needs.map(|need| StepId::single(&need.step)).collect()
        };
        let blocked = having(&|fate, _| fate == Fate::Blocked);
        if !blocked.is_empty() {
            return (Fate::Blocked, blocked);
        }
        let out = having(&|fate, any| matches!(fate, Fate::Out | Fate::Absent) && !any);
        let changes = having(&|fate, any| fate == Fate::Changes || (fate == Fate::Out && any));
        if !out.is_empty() {
            let absent = |id: &StepId| self.fates.get(id.node.as_str()) == Some(&Fate::Absent);
            return match changes.is_empty() && out.iter().all(absent) {
                true => (Fate::Absent, out),
                false => (Fate::Out, out),
            };
        }
        match changes.is_empty() {
            false => (Fate::Changes, changes),
            true => (Fate::Kept, changes),
        }
    }

    /// A node behind one that has another output then: its list, its condition and its input are read anew.
    fn read_anew(&self, node: &Node, definition: &StepDef) -> PlannedStep {
        let asked = self.wanted.of_node(&node.name);
        let sets = |asked: Asked| asked.set || asked.unset;
        let mut items = self.wanted.of_items(&node.name);
        let sets = sets(asked) || items.any(|(_, item)| sets(item));
        let ran = self
            .steps_of(&node.name)
            .any(|record| record.step.attempts > 0);
        let reads = self.reads_source(definition);
        let (own, differs) = self.differs_by_itself(definition, &node.name).unzip();
        let reason = match &self.given.world.source {
            _ if sets => Reason::ParamsChanged,
            _ if asked.force => Reason::Forced,
            _ if ran && own.is_some() => own.unwrap_or(Reason::UpstreamChanged),
            Source::Replaced(_) if reads && ran => Reason::InputChanged,
            _ if ran => Reason::UpstreamChanged,
            _ => Reason::NeverRan,
        };
        let decision = match &self.given.world.source {
            Source::Gone if reads => Decision::of(Action::Blocked, Reason::InputChanged),
            _ => Decision::of(Action::Rerun, reason),
        };
        let step = PlannedStep {
            differs: differs.flatten().filter(|_| ran),
            ..group(node, decision)
        };
        self.running(step, self.used(node), (definition, asked))
    }

    fn plan_steps(&self, node: &Node, definition: &StepDef) -> Vec<PlannedStep> {
        let list = definition.for_each.is_some();
        let anew = list.then(|| self.of_all_anew(&node.name)).flatten();
        let unexpanded = !self.records.contains_key(node.name.as_str());
        let asked = anew.or_else(|| unexpanded.then(|| self.wanted.of_node(&node.name)));
        if let Some(asked) = asked {
            let decision = self.plan_unexpanded(node, definition, asked);
            return vec![self.running(group(node, decision), self.used(node), (definition, asked))];
        }
        self.steps_of(&node.name)
            .map(|record| self.plan_step(record, definition))
            .collect()
    }

    /// What is asked of a list as a whole, if all of its items are made anew. Those of one that is the same
    /// can be told apart, and have what is asked of each.
    fn of_all_anew(&self, name: &str) -> Option<Asked> {
        let asked = self.wanted.of_node(name);
        if self.is_supplied_list(name) {
            return asked.runs().then_some(asked);
        }
        let items = || self.wanted.of_items(name).map(|(_, item)| item);
        // What they were given without what was set, they can be given again only by their definition.
        let unset = asked.unset || items().any(|item| item.unset);
        if unset && self.adoption.is_some_and(|it| it.differs(name).any()) {
            return Some(Asked { unset, ..asked });
        }
        let each = asked.set || asked.unset || items().any(|item| item != Asked::default());
        (asked.force && !each).then_some(asked)
    }

    /// Whether somebody supplied the outputs of a list: none of its items was ever given an input.
    pub(super) fn is_supplied_list(&self, name: &str) -> bool {
        let first = self.records_of(name).first();
        first.is_some_and(|first| first.step.id.item.is_some() && first.step.input.is_none())
    }

    /// A fan-out without steps, or one that is to have new ones.
    fn plan_unexpanded(&self, node: &Node, definition: &StepDef, asked: Asked) -> Decision {
        let (action, reason) = match node.status {
            _ if asked.set || asked.unset => (Action::Rerun, Reason::ParamsChanged),
            _ if asked.force => (Action::Rerun, Reason::Forced),
            StepStatus::Succeeded => (Action::Reuse, Reason::Succeeded),
            StepStatus::Skipped => (Action::Skip, Reason::ConditionFalse),
            StepStatus::Cancelled => (Action::Rerun, Reason::Cancelled),
            StepStatus::Failed => permanent(definition),
            _ => (Action::Rerun, Reason::NeverRan),
        };
        let lacks_source = self.given.world.source == Source::Gone && self.reads_source(definition);
        match action {
            Action::Rerun if lacks_source => Decision::of(Action::Blocked, Reason::InputChanged),
            _ => Decision::of(action, reason),
        }
    }

    fn plan_step(&self, record: &StepRecord, definition: &StepDef) -> PlannedStep {
        let step = &record.step;
        let asked = match self.is_supplied_list(&step.id.node) {
            true => self.wanted.of_step(&step.id).not_to_run(),
            false => self.wanted.of_step(&step.id),
        };
        let decision = self.decide(record, definition, asked);
        let action = decision.action;
        let planned = PlannedStep {
            id: step.id.clone(),
            action,
            reason: decision.reason,
            because: Vec::new(),
            why: match decision.reason {
                Reason::SkippedByOperator => self.why(&step.id, step.reason.as_deref()),
                _ => None,
            },
            error: step
                .error
                .as_deref()
                .filter(|_| action != Action::Reuse)
                .cloned(),
            proof: self.stands_on(&decision).then(|| self.proof(record)),
            checkpoint: step
                .checkpoint
                .as_deref()
                .filter(|_| action == Action::Resume)
                .copied(),
            differs: match decision.reason {
                Reason::InputChanged => self.replaced(record),
                _ => None,
            },
            damaged: decision.damaged,
            attempts: None,
            schedule: Vec::new(),
        };
        self.running(planned, step.attempts, (definition, asked))
    }

    /// Whether a decision stands on what a step made, or on that it is not there as it was.
    fn stands_on(&self, decision: &Decision) -> bool {
        match decision.action {
            Action::Reuse | Action::Resume => decision.reason != Reason::SuppliedByOperator,
            _ => matches!(
                decision.reason,
                Reason::ArtifactMissing | Reason::ArtifactCorrupt
            ),
        }
    }

    /// What a step does: what somebody wants counts first, then what the world has done to it, then how
    /// far it had come.
    fn decide(&self, record: &StepRecord, definition: &StepDef, asked: Asked) -> Decision {
        let step = &record.step;
        let decision = match &self.given.world.source {
            _ if asked.skip => Decision::of(Action::Skip, Reason::SkippedByOperator),
            _ if asked.supply => Decision::of(Action::Reuse, Reason::SuppliedByOperator),
            _ if asked.unset || (asked.set && self.sets_anew(record)) => {
                Decision::of(Action::Rerun, Reason::ParamsChanged)
            }
            _ if asked.force => Decision::of(Action::Rerun, Reason::Forced),
            Source::Replaced(_)
                if step.status != StepStatus::Skipped && self.names_source(record) =>
            {
                Decision::of(Action::Rerun, self.of_input(record))
            }
            _ if step.status == StepStatus::Succeeded && self.may_be_made_otherwise(record) => {
                Decision::of(Action::Rerun, Reason::InputChanged)
            }
            _ => self.by_status(record, definition),
        };
        let runs = matches!(decision.action, Action::Resume | Action::Rerun);
        // What players have is mended with what it was made of, or not at all.
        let mends = matches!(
            decision.reason,
            Reason::ArtifactMissing | Reason::ArtifactCorrupt | Reason::InputChanged
        );
        if runs && mends && self.led.contains(&*step.id.node) && self.lacks(record) {
            return Decision::of(Action::Blocked, Reason::InputChanged);
        }
        let reads = || self.names_source(record) || self.reads_source(definition);
        if runs && self.given.world.source == Source::Gone && reads() {
            return Decision::of(Action::Blocked, Reason::InputChanged);
        }
        decision
    }

    /// Whether a step was made of an object that is another one now, and players cannot have what it made.
    fn may_be_made_otherwise(&self, record: &StepRecord) -> bool {
        !self.led.contains(&*record.step.id.node) && self.replaced(record).is_some()
    }

    /// Why a step runs whose source is another one now.
    fn of_input(&self, record: &StepRecord) -> Reason {
        match record.step.attempts {
            0 => Reason::NeverRan,
            _ => Reason::InputChanged,
        }
    }

    fn by_status(&self, record: &StepRecord, definition: &StepDef) -> Decision {
        let step = &record.step;
        let error = step.error.as_deref();
        let out = &self.given.snapshot.amendments.out;
        let (action, reason) = match step.status {
            StepStatus::Succeeded => return self.keep(record),
            StepStatus::Skipped if out.contains(&step.id) => {
                (Action::Skip, Reason::SkippedByOperator)
            }
            StepStatus::Skipped => (Action::Skip, Reason::ConditionFalse),
            StepStatus::Failed if is_permanent(error) || self.led.contains(&*step.id.node) => {
                permanent(definition)
            }
            StepStatus::Failed => (Action::Rerun, Reason::FailedRetryable),
            StepStatus::Held if is_permanent(error) => (Action::Blocked, Reason::FailedPermanent),
            StepStatus::Held if is_lost(error) => (Action::Rerun, Reason::Lost),
            StepStatus::Held => (Action::Rerun, Reason::Held),
            StepStatus::Cancelled if step.attempts > 0 => (Action::Rerun, Reason::Cancelled),
            _ => (Action::Rerun, Reason::NeverRan),
        };
        match action {
            Action::Rerun if step.checkpoint.is_some() => self.resume(record, reason),
            _ => Decision::of(action, reason),
        }
    }

    /// A step that succeeded: kept if what it made is there.
    fn keep(&self, record: &StepRecord) -> Decision {
        let verdicts = self.verdicts(record);
        let reason = match verdicts
            .iter()
            .find(|(_, verdict)| *verdict != Verdict::Present)
        {
            None => return Decision::of(Action::Reuse, Reason::Succeeded),
            // It would be made again of something else.
            Some(_) if self.replaced(record).is_some() => {
                return Decision::of(Action::Rerun, Reason::InputChanged);
            }
            Some((_, Verdict::Corrupt)) => Reason::ArtifactCorrupt,
            Some(_) => Reason::ArtifactMissing,
        };
        match self.resume(record, reason) {
            // That it could not have gone on anyway is not why it runs.
            Decision {
                reason: Reason::ActivityChanged,
                action,
                damaged,
            } => Decision {
                action,
                reason,
                damaged,
            },
            decision => decision,
        }
    }

    /// Goes on from the checkpoint, if there is one that can be used: what it stands on is there, or the
    /// activity makes what is not again.
    fn resume(&self, record: &StepRecord, reason: Reason) -> Decision {
        if record.step.checkpoint.is_none() {
            return Decision::of(Action::Rerun, reason);
        }
        match self.fit(record) {
            Fit::Fits => {}
            Fit::OtherActivity => return Decision::of(Action::Rerun, Reason::ActivityChanged),
            Fit::OtherObject => return Decision::of(Action::Rerun, Reason::InputChanged),
        }
        let damaged = self.damaged(record);
        if damaged.is_empty() || self.mends(record) {
            return Decision {
                action: Action::Resume,
                reason,
                damaged,
            };
        }
        Decision::of(Action::Rerun, reason)
    }

    fn mends(&self, record: &StepRecord) -> bool {
        let installed = self.given.world.activities.get(&record.step.activity);
        installed.is_some_and(|installed| installed.mends)
    }

    /// Keys of the objects that a resume would have to make again: those that are not as they were
    /// recorded, and those that an earlier round was to make and did not.
    fn damaged(&self, record: &StepRecord) -> Vec<String> {
        let amendments = &self.given.snapshot.amendments;
        let before = amendments.damaged.get(&record.step.id);
        let mut damaged: Vec<String> = before.cloned().unwrap_or_default();
        let found = self.verdicts(record).into_iter();
        let found = found.filter(|(_, verdict)| *verdict != Verdict::Present);
        damaged.extend(found.map(|(key, _)| key.to_owned()));
        damaged.sort_unstable();
        damaged.dedup();
        damaged
    }

    /// What was found of the objects of a step, as far as they were looked at.
    fn verdicts<'r>(&self, record: &'r StepRecord) -> Vec<(&'r str, Verdict)> {
        if self.given.world.verdicts.is_empty() {
            return Vec::new();
        }
        let looked_at = record.artifacts.iter().filter_map(|artifact| {
            let verdict = self.given.world.verdicts.get(&artifact.key)?;
            Some((artifact.key.as_str(), *verdict))
        });
        looked_at.collect()
    }

    fn proof(&self, record: &StepRecord) -> Proof {
        let verified = |key: &str| {
            let verdict = self.given.world.verdicts.get(key)?;
            Some(*verdict == Verdict::Present)
        };
        let artifacts = record.artifacts.iter().map(|artifact| ArtifactProof {
            artifact: artifact.artifact.clone(),
            verified: verified(&artifact.key),
        });
        Proof {
            cache_key: reuse::recorded(record).map(|key| key.digest),
            artifacts: artifacts.collect(),
        }
    }

    /// Adds its attempts to a step that would run and has made so many before.
    pub(super) fn running(
        &self,
        step: PlannedStep,
        used: u32,
        (definition, asked): (&StepDef, Asked),
    ) -> PlannedStep {
        if !step.runs() {
            return step;
        }
        let attempts = Attempts {
            used,
            granted: asked.attempts.unwrap_or(definition.retry.max_attempts),
        };
        let schedule = match definition.for_each.is_some() && step.id.item.is_none() {
            true => Vec::new(),
            false => {
                let seed = self.given.snapshot.run.id.as_str();
                prospect::schedule((&step.id, attempts), &definition.retry.backoff, seed)
            }
        };
        PlannedStep {
            attempts: Some(attempts),
            schedule,
            ..step
        }
    }

    /// Attempts of a node's only step; those of the items of a list are not counted together.
    pub(super) fn used(&self, node: &Node) -> u32 {
        let mut single = self
            .steps_of(&node.name)
            .filter(|record| record.step.id.item.is_none());
        single.next().map_or(0, |record| record.step.attempts)
    }

    /// What the run calls its source.
    pub(super) fn own_source(&self) -> Option<&'a str> {
        self.given.snapshot.run.input.get("source")?.as_str()
    }

    /// Whether what a step was given names the source.
    pub(super) fn names_source(&self, record: &StepRecord) -> bool {
        let (Some(key), Some(input)) = (self.own_source(), &record.step.input) else {
            return false;
        };
        names(input, key)
    }

    /// Whether a step is to be given the source.
    pub(super) fn reads_source(&self, definition: &StepDef) -> bool {
        let named = |path: &[String]| match path {
            [root] => root == "input",
            [root, member, ..] => root == "input" && member == "source",
            [] => false,
        };
        definition
            .with
            .references()
            .any(|reference| named(&reference.path))
    }

    pub(super) fn steps_of(&self, node: &str) -> impl Iterator<Item = &'a StepRecord> {
        self.records.get(node).into_iter().flatten().copied()
    }

    /// The steps of a node, items in the order of their list.
    pub(super) fn records_of(&self, node: &str) -> &[&'a StepRecord] {
        self.records
            .get(node)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

impl PlannedStep {
    fn due_to(self, because: Vec<StepId>) -> Self {
        Self { because, ..self }
    }
}

fn names(value: &Value, key: &str) -> bool {
    match value {
        Value::String(text) => text == key,
        Value::Array(items) => items.iter().any(|item| names(item, key)),
        Value::Object(members) => members.values().any(|member| names(member, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether all of a node is left out: not one that failed and that others go on without.
fn is_out(steps: &[PlannedStep]) -> bool {
    matches!(steps, [only] if only.action == Action::Skip
        && only.id.item.is_none()
        && only.reason != Reason::FailedPermanent)
}

pub(super) fn group(node: &Node, decision: Decision) -> PlannedStep {
    PlannedStep {
        id: StepId::single(&node.name),
        action: decision.action,
        reason: decision.reason,
        because: Vec::new(),
        why: None,
        error: None,
        proof: None,
        checkpoint: None,
        differs: None,
        damaged: decision.damaged,
        attempts: None,
        schedule: Vec::new(),
    }
}

/// A failure that trying again cannot help: others go on without it, or nothing can.
fn permanent(definition: &StepDef) -> (Action, Reason) {
    let action = match definition.on_failure {
        OnFailure::Continue => Action::Skip,
        OnFailure::Fail | OnFailure::Hold => Action::Blocked,
    };
    (action, Reason::FailedPermanent)
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
