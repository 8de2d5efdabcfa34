//! What readers have seen stays as it is: once a step has published what others made, none of those makes
//! it otherwise in the same run, since it would write over what players and caches may already have. An
//! object that is gone or damaged is made again as it was: that is no change.

use std::collections::BTreeSet;

use super::compute::{Planner, Unmet};
use super::entries::Entries;
use super::{Action, PlannedStep, Reason};
use crate::definition::Definition;
use crate::id::StepId;
use crate::retry::edits::Edit;
use crate::run::StepStatus;

/// An edit that would change what is published.
const ALREADY_PUBLISHED: &str = "already_published";
/// Steps that one sentence names.
const NAMED: usize = 3;

/// Steps that would make otherwise what is published.
#[derive(Debug, Default)]
pub(super) struct Republished<'s> {
    /// Those that do so by themselves, and not because of others.
    steps: BTreeSet<&'s StepId>,
    /// One of those that published it.
    by: Option<&'s StepId>,
}

impl<'s> Planner<'s> {
    /// What of a plan would change what its run has published, under the definition that it was published
    /// with or under the next one.
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
        let changed = self.changed(steps);
        let entries = Entries::of(steps);
        for by in published {
            let mut led_to = BTreeSet::new();
            for definition in [before, self.given.definition] {
                ancestors(definition, &by.node, &mut led_to);
            }
            let led = changed.iter().filter(|it| led_to.contains(&*it.id.node));
            // What it is given decides what it publishes; that it does the same once more is no matter.
            let own = entries.meant(by).iter();
            let own = own.filter(|it| {
                let given = matches!(it.reason, Reason::ParamsChanged | Reason::InputChanged);
                it.runs() && given
            });
            let roots = led.copied().chain(own);
            let mut roots = roots.filter(|it| it.reason != Reason::UpstreamChanged);
            if let Some(first) = roots.next() {
                found.by = Some(by);
                found.steps.insert(&first.id);
                found.steps.extend(roots.map(|it| &it.id));
            }
        }
        found
    }

    /// Steps that succeeded and will have made something else, in the order of the definition.
    fn changed<'p>(&self, steps: &'p [PlannedStep]) -> Vec<&'p PlannedStep> {
        let mut nodes: BTreeSet<&str> = BTreeSet::new();
        let mut changed = Vec::new();
        for step in steps.iter().filter(|step| self.had_succeeded(&step.id)) {
            let does_otherwise = match (step.action, step.reason) {
                (_, Reason::ArtifactMissing | Reason::ArtifactCorrupt) => false,
                (Action::Resume | Action::Rerun, Reason::UpstreamChanged) => {
                    step.because.iter().any(|it| nodes.contains(&*it.node))
                }
                (Action::Reuse, reason) => reason == Reason::SuppliedByOperator,
                (Action::Resume | Action::Rerun | Action::Skip, _) => true,
                (Action::Blocked, _) => false,
            };
            if does_otherwise {
                nodes.insert(&step.id.node);
                changed.push(step);
            }
        }
        changed
    }

    /// Whether a step has an output now, or any of a list.
    fn had_succeeded(&self, id: &StepId) -> bool {
        let mut records = self.steps_of(&id.node);
        records.any(|record| {
            let meant = id.item.is_none() || record.step.id == *id;
            meant && record.step.status == StepStatus::Succeeded
        })
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
        let named = self.steps.iter().take(NAMED).map(ToString::to_string);
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match self.steps.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{by} has published what {named}{more} would make otherwise, and players may have it: submit a new \
             job, which takes from this one what stays the same"
        ))
    }

    fn names(&self, step: &StepId) -> bool {
        self.steps.iter().any(|it| {
            it.node == step.node && (it.item.is_none() || step.item.is_none() || *it == step)
        })
    }
}

/// Adds the nodes that a node needs, and those that they need.
fn ancestors(definition: &Definition, node: &str, found: &mut BTreeSet<String>) {
    let mut next = vec![node];
    let mut seen = BTreeSet::new();
    while let Some(node) = next.pop() {
        let Some(step) = definition.steps.get(node) else {
            continue;
        };
        for need in &step.needs {
            if seen.insert(need.step.as_str()) {
                next.push(&need.step);
            }
        }
    }
    found.extend(seen.into_iter().map(str::to_owned));
}
