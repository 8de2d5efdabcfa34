//! Another definition for a run that stopped: which of its steps the new one has too, what of them is
//! written otherwise, and the run as the new definition sees it. Steps are matched by their names; whether
//! a step that is written otherwise would be made from something else, the plan finds out by reading it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::{Definition, Reference, StepDef};
use crate::id::StepId;
use crate::retry::edits::EditError;
use crate::run::{Node, Run, Snapshot, Step, StepRecord};

/// Where [`Edits`](crate::retry::edits::Edits) name the definition.
const PLACE: &str = "/definition";

/// What becomes of a step by another definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new definition has it.
    Added,
    /// Only the old one has it: its rows go, its attempts stay. Its objects belong to nothing any more.
    Removed,
    /// Both have it, and it is written otherwise.
    Changed,
}

/// A part of a step as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are called as definitions call them")]
pub enum Part {
    Activity,
    With,
    When,
    ForEach,
    Needs,
    OnFailure,
    Retry,
    Timeout,
    Requires,
    Queue,
    Priority,
    Cache,
}

/// What another definition does to a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepChange {
    /// Its name, also of a whole fan-out.
    pub step: String,
    /// What becomes of it.
    pub change: Change,
    /// What is written otherwise, if both definitions have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Objects of a removed step, which belong to nothing any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub objects: u32,
}

impl StepChange {
    /// Whether the step is written to be given something else.
    pub(crate) fn gives_otherwise(&self) -> bool {
        let given = |part: &Part| matches!(part, Part::With | Part::ForEach);
        self.parts.iter().any(given)
    }
}

/// What a run becomes by another definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionChanges {
    /// `video:full@4`
    pub definition: String,
    /// `sha256:...` of the definition.
    pub digest: String,
    /// Steps that are not as they were, in the order of the new definition, removed ones last. One that
    /// is not named here is written as before.
    pub steps: Vec<StepChange>,
    /// Members of the job's input that are others by the defaults of the new definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What has to be found out of a step that both definitions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Differs {
    /// Its activity is another one.
    pub(crate) activity: bool,
    /// Its input, or its list, may be another one.
    pub(crate) input: bool,
    /// Whether it runs at all may be decided otherwise.
    pub(crate) gate: bool,
}

impl Differs {
    pub(crate) fn any(self) -> bool {
        self.activity || self.input || self.gate
    }
}

/// A run as another definition sees it.
#[derive(Debug)]
pub(crate) struct Adoption {
    /// With the nodes and steps of the new definition: those that both have are as they were, new ones
    /// are pending.
    pub(crate) snapshot: Snapshot,
    /// What is told of it.
    pub(crate) changes: DefinitionChanges,
    /// Members of the job's input that are as the former defaults filled them in, or as somebody wanted them,
    /// and that the new defaults would fill in otherwise.
    pub(crate) filled_before: Vec<String>,
    differs: BTreeMap<String, Differs>,
}

impl Adoption {
    /// Lets a run of `from` be one of `to`.
    ///
    /// # Errors
    /// Why it cannot be, all reasons at once.
    pub(crate) fn of(
        snapshot: &Snapshot,
        from: &Definition,
        to: &Definition,
    ) -> Result<Self, Vec<EditError>> {
        let run = adopted(&snapshot.run, to)?;
        let errors = kinds((from, to));
        if !errors.is_empty() {
            return Err(errors);
        }
        let input = moved(&snapshot.run.input, &run.input);
        let matched = to.steps.iter().filter_map(|(name, step)| {
            let differs = differs((from.steps.get(name)?, step), &input);
            Some((name.clone(), differs))
        });
        let differs = matched.collect();
        let changes = DefinitionChanges {
            definition: format!("{}@{}", to.name, to.version),
            digest: run.definition.clone(),
            steps: changed(snapshot, (from, to)),
            input: input.into_iter().collect(),
        };
        Ok(Self {
            snapshot: reordered(snapshot, (run, to)),
            changes,
            filled_before: filled_before(&snapshot.run.input, (from, to)),
            differs,
        })
    }

    /// What has to be found out of a step; nothing of one that only the new definition has.
    pub(crate) fn differs(&self, step: &str) -> Differs {
        self.differs.get(step).copied().unwrap_or_default()
    }

    /// Steps whose input may be another one than the one that was recorded.
    pub(crate) fn unread(&self) -> BTreeSet<&str> {
        let unread = self.differs.iter();
        let unread = unread.filter(|(_, differs)| differs.activity || differs.input);
        unread.map(|(name, _)| name.as_str()).collect()
    }
}

/// The header of a run under another definition, with the input that this one makes of it.
///
/// # Errors
/// Why the run cannot have that definition.
pub(crate) fn adopted(run: &Run, to: &Definition) -> Result<Run, Vec<EditError>> {
    let digest = to.digest();
    if digest == run.definition {
        let message = format!("the job executes {}@{} already", to.name, to.version);
        return Err(vec![refused("same_definition", message)]);
    }
    if to.name != run.workflow {
        let message = format!(
            "the job is one of {}: {} is another workflow, submit a new job with it",
            run.workflow, to.name
        );
        return Err(vec![refused("other_workflow", message)]);
    }
    let input = to.check_input(run.input.clone()).map_err(|misfits| {
        let told = misfits.iter().map(|misfit| {
            let message = format!(
                "{}@{} does not take the input of the job: {misfit}",
                to.name, to.version
            );
            refused("input_refused", message)
        });
        told.collect::<Vec<_>>()
    })?;
    if input.get("source") != run.input.get("source") {
        let message = "the new definition names a source, and the job was submitted without one";
        return Err(vec![refused("input_refused", message.to_owned())]);
    }
    Ok(Run {
        version: to.version,
        definition: digest,
        input,
        ..run.clone()
    })
}

fn refused(code: &'static str, message: String) -> EditError {
    EditError {
        pointer: PLACE.to_owned(),
        code,
        message,
    }
}

/// A step cannot become a list, or a list a step, under the same name: what it gave is of another shape.
fn kinds((from, to): (&Definition, &Definition)) -> Vec<EditError> {
    let kind = |step: &StepDef| match step.for_each {
        Some(_) => "a list",
        None => "one step",
    };
    let turned = to.steps.iter().filter_map(|(name, step)| {
        let before = from.steps.get(name)?;
        let turns = before.for_each.is_some() != step.for_each.is_some();
        turns.then(|| {
            let message = format!(
                "{name} is {} and would become {}: give the new step another name",
                kind(before),
                kind(step)
            );
            refused("step_kind_changed", message)
        })
    });
    turned.collect()
}

/// Members of an input that are not as they were.
fn moved(before: &Value, now: &Value) -> BTreeSet<String> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, now) = (members(before), members(now));
    let names = before.keys().chain(now.keys());
    let names = names.filter(|name| before.get(*name) != now.get(*name));
    names.cloned().collect()
}

/// Members of an input that have the default of one definition where another has a different one.
fn filled_before(input: &Value, (from, to): (&Definition, &Definition)) -> Vec<String> {
    let (before, now) = (from.defaults(), to.defaults());
    let members = input.as_object().into_iter().flatten();
    let outdated = members.filter(|(name, value)| {
        let other = now.get(*name).is_some_and(|now| now != *value);
        other && before.get(*name) == Some(*value)
    });
    outdated.map(|(name, _)| name.clone()).collect()
}

/// What has to be found out of a step that is written like this now, when these members of the job's input
/// are others.
fn differs((before, now): (&StepDef, &StepDef), moved: &BTreeSet<String>) -> Differs {
    let reads = |reference: &Reference| match reference.path.as_slice() {
        [root, member, ..] => root == "input" && moved.contains(member),
        [root] => root == "input" && !moved.is_empty(),
        [] => false,
    };
    let given = now.with.references().any(reads)
        || now
            .for_each
            .iter()
            .any(|list| list.references().iter().any(reads));
    let gated = now
        .when
        .iter()
        .any(|when| when.references().iter().any(reads));
    Differs {
        activity: before.activity != now.activity,
        input: given || before.with != now.with || before.for_each != now.for_each,
        gate: gated || before.when != now.when || before.needs != now.needs,
    }
}

fn parts(before: &StepDef, now: &StepDef) -> Vec<Part> {
    let compared = [
        (Part::Activity, before.activity == now.activity),
        (Part::With, before.with == now.with),
        (Part::When, before.when == now.when),
        (Part::ForEach, before.for_each == now.for_each),
        (Part::Needs, before.needs == now.needs),
        (Part::OnFailure, before.on_failure == now.on_failure),
        (Part::Retry, before.retry == now.retry),
        (Part::Timeout, before.timeout == now.timeout),
        (Part::Requires, before.requires == now.requires),
        (Part::Queue, before.queue == now.queue),
        (Part::Priority, before.priority == now.priority),
        (Part::Cache, before.cache == now.cache),
    ];
    let others = compared.into_iter().filter(|(_, same)| !same);
    others.map(|(part, _)| part).collect()
}

fn changed(snapshot: &Snapshot, (from, to): (&Definition, &Definition)) -> Vec<StepChange> {
    let change = |name: &str, change, parts| StepChange {
        step: name.to_owned(),
        change,
        parts,
        objects: 0,
    };
    let now = to.steps.iter().filter_map(|(name, step)| {
        let Some(before) = from.steps.get(name) else {
            return Some(change(name, Change::Added, Vec::new()));
        };
        let parts = parts(before, step);
        (!parts.is_empty()).then(|| change(name, Change::Changed, parts))
    });
    let gone = from
        .steps
        .keys()
        .filter(|name| !to.steps.contains_key(*name));
    let gone = gone.map(|name| StepChange {
        objects: objects(snapshot, name),
        ..change(name, Change::Removed, Vec::new())
    });
    now.chain(gone).collect()
}

fn objects(snapshot: &Snapshot, node: &str) -> u32 {
    let of_node = snapshot.steps.iter().filter(|it| it.step.id.node == node);
    let objects: usize = of_node.map(|record| record.artifacts.len()).sum();
    u32::try_from(objects).unwrap_or(u32::MAX)
}

/// The rows of a run in the order of another definition.
fn reordered(snapshot: &Snapshot, (run, to): (Run, &Definition)) -> Snapshot {
    let mut records = snapshot.by_node();
    let known: BTreeMap<&str, &Node> = snapshot
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let (mut nodes, mut steps) = (Vec::new(), Vec::new());
    for (name, step) in &to.steps {
        let of_node = records.remove(name.as_str()).unwrap_or_default();
        steps.extend(of_node.into_iter().cloned());
        nodes.push(match known.get(name.as_str()) {
            Some(node) => (*node).clone(),
            None => {
                steps.extend(new_step(snapshot, (name, step)));
                Node::pending(name, step.for_each.is_some())
            }
        });
    }
    Snapshot {
        run,
        nodes,
        steps,
        former: snapshot.former.clone(),
        amendments: snapshot.amendments.clone(),
    }
}

/// The only step of a new node; a list has none before it is read. The numbers of attempts of an earlier
/// step of that name go on.
fn new_step(snapshot: &Snapshot, (name, step): (&str, &StepDef)) -> Option<StepRecord> {
    if step.for_each.is_some() {
        return None;
    }
    let id = StepId::single(name);
    let former = snapshot.former.iter().filter(|(of, _)| *of == id);
    let attempts = former.map(|(_, attempt)| attempt.n).max();
    let round = snapshot.run.round + 1;
    Some(StepRecord {
        step: Step {
            attempts: attempts.unwrap_or_default(),
            ..Step::pending(id, step.activity.to_string(), round)
        },
        attempts: Vec::new(),
        artifacts: Vec::new(),
        compat: None,
        made: None,
    })
}
