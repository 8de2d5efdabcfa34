//! What readers have seen stays as it is: once a step has published what others made, none of those runs again
//! in the same run, since it would write over what players and caches may already have. An object that is gone
//! or damaged is made again, and what is behind it; what failed, and what it was published without, stays out.

use std::collections::{BTreeMap, BTreeSet};

use super::compute::{Planner, Unmet};
use super::{Action, PlannedStep, Reason};
use crate::definition::Definition;
use crate::id::StepId;
use crate::retry::edits::Edit;
use crate::run::{AttemptOutcome, StepRecord, StepStatus};

/// An edit that would change what is published.
const ALREADY_PUBLISHED: &str = "already_published";
/// Steps that one sentence names.
const NAMED: usize = 3;

/// What of a plan would change what is published.
#[derive(Debug, Default)]
pub(super) struct Republished<'s> {
    /// Steps that would make it otherwise, and not only because others do.
    steps: BTreeSet<&'s StepId>,
    /// One of those that published it.
    by: Option<&'s StepId>,
}

/// What becomes of a node that led to what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Becomes {
    /// Nothing.
    Same,
    /// It makes again what is gone, is given what it has, or publishes the same once more.
    Mended,
    /// It makes something else, or something more.
    Otherwise,
}

impl<'s> Planner<'s> {
    /// What of a plan would change what its run has published with the definition that it has `before`.
    pub(super) fn republished<'p>(
        &self,
        steps: &'p [PlannedStep],
        before: &Definition,
    ) -> Republished<'p>
    where
        's: 'p,
    {
        let mut found = Republished::default();
        let published = &self.given.world.published;
        if published.is_empty() {
            return found;
        }
        let next = self.given.definition;
        let mut forgets = false;
        for node in self.publishing() {
            let now = ancestors(next, node);
            let mut then = ancestors(before, node).into_iter();
            // A plan of the next round could not know any more what it would change.
            forgets |= !next.steps.contains_key(node)
                || then.any(|it| next.steps.contains_key(it) && !now.contains(it));
        }
        self.follow(steps, &mut found);
        if forgets || !found.steps.is_empty() {
            found.by = published.first();
        }
        found
    }

    fn publishing(&self) -> BTreeSet<&'s str> {
        let published = self.given.world.published.iter();
        published.map(|by| by.node.as_str()).collect()
    }

    /// The nodes that led to what is published.
    pub(super) fn led(&self) -> BTreeSet<&'s str> {
        let publishing = self.publishing().into_iter();
        publishing
            .flat_map(|node| ancestors(self.given.definition, node))
            .collect()
    }

    /// What becomes of the nodes that led to what is published, and of those that published it.
    fn follow<'p>(&self, steps: &'p [PlannedStep], found: &mut Republished<'p>) {
        let publishing = self.publishing();
        let mut becomes: BTreeMap<&str, Becomes> = BTreeMap::new();
        for of_node in steps.chunk_by(|a, b| a.id.node == b.id.node) {
            let node = of_node[0].id.node.as_str();
            let publishes = publishing.contains(node);
            if !publishes && !self.led.contains(node) {
                continue;
            }
            let mut of_all = Becomes::Same;
            for step in of_node {
                let change = match publishes {
                    true => self.publisher_becomes(step),
                    false => self.becomes(step, &becomes),
                };
                of_all = of_all.max(change);
                let mut because = step.because.iter();
                let follows =
                    because.any(|it| becomes.get(it.node.as_str()) == Some(&Becomes::Otherwise));
                if change == Becomes::Otherwise && !follows {
                    found.steps.insert(&step.id);
                }
            }
            becomes.insert(node, of_all);
        }
    }

    /// What becomes of a step, as far as its needs say.
    fn becomes(&self, step: &PlannedStep, needs: &BTreeMap<&str, Becomes>) -> Becomes {
        let had_succeeded = self.had_succeeded(&step.id);
        let mended = match step.reason {
            Reason::ArtifactMissing | Reason::ArtifactCorrupt => true,
            Reason::UpstreamChanged => {
                let mut because = step.because.iter();
                because.all(|it| needs.get(it.node.as_str()) == Some(&Becomes::Mended))
            }
            Reason::SuppliedByOperator => had_succeeded && self.is_supplied_again(&step.id),
            _ => false,
        };
        match step.action {
            Action::Blocked => Becomes::Same,
            Action::Reuse if step.reason != Reason::SuppliedByOperator => Becomes::Same,
            Action::Skip if !had_succeeded => Becomes::Same,
            Action::Resume | Action::Rerun if mended && !self.was_supplied(&step.id) => {
                Becomes::Mended
            }
            Action::Reuse if mended => Becomes::Mended,
            _ => Becomes::Otherwise,
        }
    }

    /// What it is given decides what it publishes; that it does the same once more is no matter.
    fn publisher_becomes(&self, step: &PlannedStep) -> Becomes {
        match step.action {
            _ if self.is_given_otherwise(step) => Becomes::Otherwise,
            Action::Resume | Action::Rerun => Becomes::Mended,
            _ => Becomes::Same,
        }
    }

    /// Whether a step that publishes would be given something else, or another activity.
    fn is_given_otherwise(&self, step: &PlannedStep) -> bool {
        let by_definition = step.reason == Reason::ActivityChanged && self.adoption.is_some();
        let given = matches!(step.reason, Reason::ParamsChanged | Reason::InputChanged);
        step.runs() && (given || by_definition)
    }

    fn meant<'r>(&'r self, id: &'r StepId) -> impl Iterator<Item = &'r StepRecord> {
        let records = self.steps_of(&id.node);
        records.filter(|record| id.item.is_none() || record.step.id == *id)
    }

    /// Whether a step has an output now, or any of a list.
    fn had_succeeded(&self, id: &StepId) -> bool {
        let mut records = self.meant(id);
        records.any(|record| record.step.status == StepStatus::Succeeded)
    }

    /// Whether somebody gave a step the output that it has: an attempt would give it another one.
    pub(super) fn was_supplied(&self, id: &StepId) -> bool {
        let mut records = self.meant(id);
        records.any(|record| {
            let last = record.attempts.last().and_then(|attempt| attempt.outcome);
            record.step.status == StepStatus::Succeeded && last != Some(AttemptOutcome::Succeeded)
        })
    }

    /// Whether the output that is supplied is the one that a step has.
    fn is_supplied_again(&self, id: &StepId) -> bool {
        let mut edits = self.given.edits.iter();
        let supplied = edits.find_map(|recorded| match &recorded.edit {
            Edit::Supply { step, output } if step == id => Some(output),
            _ => None,
        });
        id.item.is_none() && supplied.is_some_and(|supplied| *supplied == self.output(&id.node))
    }

    /// Holds the edits to account that would change what is published.
    pub(super) fn blame_for(&mut self, republished: &Republished<'_>) {
        let Some(why) = republished.why() else {
            return;
        };
        let edits = self.given.edits.iter().map(|recorded| &recorded.edit);
        let changes = |edit: &&Edit| {
            let step = edit.step();
            !matches!(edit, Edit::Budget { .. }) && step.is_some_and(|it| republished.names(it))
        };
        let mut to_blame: Vec<&Edit> = edits.clone().filter(changes).collect();
        if to_blame.is_empty() {
            to_blame = edits
                .filter(|it| matches!(it, Edit::Definition { .. }))
                .collect();
        }
        let unmet = to_blame.into_iter().map(|edit| Unmet {
            edit: edit.clone(),
            code: ALREADY_PUBLISHED,
            why: why.clone(),
        });
        self.unmet.extend(unmet);
    }
}

impl Republished<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.by.is_none()
    }

    /// What stands in the way, and what to do instead.
    pub(super) fn why(&self) -> Option<String> {
        let by = self.by?;
        let instead =
            "submit a new job (`run --new`), which takes from this one what stays the same";
        if self.steps.is_empty() {
            return Some(format!(
                "{by} has published what the definition has it need no more, so that nothing would keep it from \
                 being made otherwise: keep that step and what it needs, or {instead}"
            ));
        }
        let named = self.steps.iter().take(NAMED).map(ToString::to_string);
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match self.steps.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{by} has published what {named}{more} would make otherwise, and players may have it: {instead}"
        ))
    }

    fn names(&self, step: &StepId) -> bool {
        self.steps.iter().any(|it| {
            it.node == step.node && (it.item.is_none() || step.item.is_none() || *it == step)
        })
    }
}

/// The nodes that a node needs, and those that they need.
fn ancestors<'d>(definition: &'d Definition, node: &str) -> BTreeSet<&'d str> {
    let mut found = BTreeSet::new();
    let mut next = vec![node];
    while let Some(node) = next.pop() {
        let Some(step) = definition.steps.get(node) else {
            continue;
        };
        for need in &step.needs {
            if found.insert(need.step.as_str()) {
                next.push(&need.step);
            }
        }
    }
    found
}
