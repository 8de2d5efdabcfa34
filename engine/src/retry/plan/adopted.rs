//! What another definition does to steps of a run: those that nothing else moves are read as the new
//! definition has them, and compared with what they were given.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::compute::{Decision, Planner, group};
use super::edited::Asked;
use super::{Action, PlannedStep, Reason};
use crate::activity::hex;
use crate::definition::{OnFailure, StepDef};
use crate::id::StepId;
use crate::machine::reading::{Known, Reading, read};
use crate::retry::adoption::Differs;
use crate::retry::reuse::{Difference, difference};
use crate::retry::world::Source;
use crate::run::{Failure, Node, StepRecord, StepStatus};

/// Bytes of a value that a difference repeats; of a longer one it says the digest.
const VALUE_BYTES: usize = 1024;

impl Planner<'_> {
    /// What a node does, all of whose needs stay as they are, if its new definition decides that; a plan
    /// of the node itself otherwise.
    pub(super) fn by_definition(
        &self,
        (node, definition): (&Node, &StepDef),
        asked: Asked,
    ) -> Option<PlannedStep> {
        let differs = self.adoption?.differs(&node.name);
        let by_operator = asked.runs();
        if !differs.any() || (by_operator && definition.for_each.is_none()) {
            return None;
        }
        let running = |reason, difference| {
            let lacks_source =
                self.given.world.source == Source::Gone && self.reads_source(definition);
            let decision = match lacks_source {
                true => Decision::of(Action::Blocked, Reason::InputChanged),
                false => Decision::of(Action::Rerun, self.unless_new(node, reason)),
            };
            let step = PlannedStep {
                differs: difference,
                ..group(node, decision)
            };
            Some(self.running(step, self.used(node), (definition, asked)))
        };
        // What somebody supplied was made by no definition, and stays under another one.
        let stays = !by_operator && !differs.activity && self.is_supplied(node);
        if stays && !differs.gate {
            return None;
        }
        match self.read(&node.name, definition) {
            Ok(Reading::Skip) if node.status == StepStatus::Skipped => None,
            Ok(Reading::Skip) => {
                let out = Decision::of(Action::Skip, Reason::ConditionFalse);
                Some(group(node, out))
            }
            _ if stays => None,
            Ok(_) if node.status == StepStatus::Skipped => running(Reason::ParamsChanged, None),
            Ok(reading) => {
                let (reason, difference) =
                    self.differs_from((node, definition), differs, &reading)?;
                running(reason, difference)
            }
            Err(_) if definition.on_failure == OnFailure::Continue => {
                running(Reason::ParamsChanged, None)
            }
            Err(why) => Some(unreadable(node, why)),
        }
    }

    /// Whether somebody gave a step, or a list as a whole, the output that it has.
    fn is_supplied(&self, node: &Node) -> bool {
        let supplied = match self.records_of(&node.name) {
            [only] if only.step.id.item.is_none() => self.was_supplied(&only.step.id),
            _ => self.is_supplied_list(&node.name),
        };
        supplied && node.status == StepStatus::Succeeded
    }

    /// Nothing of a step that never ran is changed.
    fn unless_new(&self, node: &Node, reason: Reason) -> Reason {
        let mut records = self.steps_of(&node.name);
        match records.any(|record| record.step.attempts > 0) {
            true => reason,
            false => Reason::NeverRan,
        }
    }

    /// In what a node would be made from something else than it was; `None` if in nothing.
    fn differs_from(
        &self,
        (node, definition): (&Node, &StepDef),
        differs: Differs,
        reading: &Reading,
    ) -> Option<(Reason, Option<Difference>)> {
        let records: Vec<&StepRecord> = self.steps_of(&node.name).collect();
        let inputs = match reading {
            Reading::Skip => return None,
            Reading::Single(input) => std::slice::from_ref(input),
            Reading::Group(inputs) => inputs,
        };
        let failed = matches!(node.status, StepStatus::Failed | StepStatus::Held);
        if records.is_empty() {
            let empty = node.status == StepStatus::Succeeded && inputs.is_empty();
            let unread = !failed && node.status != StepStatus::Succeeded;
            return (!empty && !unread).then_some((Reason::ParamsChanged, None));
        }
        if differs.activity {
            return self.differs_by_itself(definition, &node.name);
        }
        if !differs.input {
            return None;
        }
        if records.len() != inputs.len() {
            let (before, after) = (json!(records.len()), json!(inputs.len()));
            let items = changed("/for_each", (Some(&before), Some(&after)));
            return Some((Reason::ParamsChanged, items));
        }
        let mut pairs = records.iter().zip(inputs);
        pairs.find_map(|(record, now)| match &record.step.input {
            Some(before) if before == now => None,
            Some(before) => {
                let difference = difference("/input", Some(before), Some(now));
                Some((Reason::ParamsChanged, difference.map(shortened)))
            }
            // Its expressions could not be evaluated.
            None => failed.then_some((Reason::ParamsChanged, None)),
        })
    }

    /// In what a node differs whatever the others give.
    pub(super) fn differs_by_itself(
        &self,
        definition: &StepDef,
        name: &str,
    ) -> Option<(Reason, Option<Difference>)> {
        let adoption = self.adoption?;
        let differs = adoption.differs(name);
        if differs.activity {
            let mut records = self.steps_of(name);
            let before = records.next().map(|record| json!(record.step.activity));
            let now = json!(definition.activity.to_string());
            let activity = changed("/activity", (before.as_ref(), Some(&now)));
            return Some((Reason::ActivityChanged, activity));
        }
        let mut changes = adoption.changes.steps.iter();
        let written = changes.any(|change| change.step == name && change.gives_otherwise());
        written.then_some((Reason::ParamsChanged, None))
    }

    /// What the expressions of a node say, the needs of which are all settled and stay so.
    pub(super) fn read(&self, name: &str, definition: &StepDef) -> Result<Reading, Failure> {
        let skipped = definition.needs.iter().any(|need| {
            let node = self.nodes.get(need.step.as_str());
            !need.any && node.is_some_and(|node| node.status == StepStatus::Skipped)
        });
        if skipped {
            return Ok(Reading::Skip);
        }
        let outputs: BTreeMap<String, Value> = definition
            .needs
            .iter()
            .map(|need| (need.step.clone(), self.output(&need.step)))
            .collect();
        let snapshot = self.given.snapshot;
        let known = Known {
            input: &snapshot.run.input,
            outputs: &outputs,
            amendments: &snapshot.amendments,
        };
        read((name, definition), known, |_| Ok(()))
    }

    /// What a settled node gave.
    pub(super) fn output(&self, name: &str) -> Value {
        let Some(node) = self.nodes.get(name) else {
            return Value::Null;
        };
        let records: Vec<&StepRecord> = self.steps_of(name).collect();
        match (node.total, records.as_slice()) {
            (None, _) => Value::Null,
            (_, [only]) if only.step.id.item.is_none() => output_of(only),
            (_, items) => items.iter().map(|record| output_of(record)).collect(),
        }
    }
}

/// What a settled step gave.
pub(super) fn output_of(record: &StepRecord) -> Value {
    match record.step.status {
        StepStatus::Succeeded => record.step.output.clone().unwrap_or_default(),
        _ => Value::Null,
    }
}

/// A step whose expressions cannot be evaluated any more.
fn unreadable(node: &Node, why: Failure) -> PlannedStep {
    let blocked = Decision::of(Action::Blocked, Reason::ParamsChanged);
    PlannedStep {
        error: Some(Failure {
            step: Some(StepId::single(&node.name)),
            ..why
        }),
        ..group(node, blocked)
    }
}

fn changed(path: &str, (before, after): (Option<&Value>, Option<&Value>)) -> Option<Difference> {
    difference(path, before, after).map(shortened)
}

/// A plan is kept and shown as a whole: long values are told by their digests.
fn shortened(difference: Difference) -> Difference {
    let short = |value: Value| {
        let text = value.to_string();
        if text.len() <= VALUE_BYTES {
            return value;
        }
        json!({"bytes": text.len(), "sha256": hex(&Sha256::digest(text.as_bytes()))})
    };
    Difference {
        path: difference.path,
        before: difference.before.map(short),
        after: difference.after.map(short),
    }
}
