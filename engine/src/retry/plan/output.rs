//! Whether the output of the workflow can be made when all that would run has succeeded. What a member of it
//! reads may stay out, or somebody may have supplied it: then that is known before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::adopted::output_of;
use super::compute::{Planner, Unmet};
use super::entries::Entries;
use super::{Action, PlannedStep, Reason};
use crate::definition::{ExprError, Reference, Scope, Template};
use crate::id::StepId;
use crate::retry::edits::Edit;

/// An edit without which the output of the workflow could be made.
const OUTPUT_IMPOSSIBLE: &str = "output_impossible";
/// Members of the output that one sentence names.
const MEMBERS_NAMED: usize = 3;
/// Steps of a reference that reads a member of an output: `steps.NAME.output.MEMBER`.
const OUTPUT_NAMES: usize = 3;

/// What of the workflow's output is not to be had.
#[derive(Debug, Default)]
pub(super) struct Unmade<'a> {
    /// Members that cannot be made.
    pub(super) failing: Vec<Failing<'a>>,
    /// Members that perhaps cannot be made: they read a step that stays out, and others as well.
    doubtful: Vec<Member<'a>>,
}

/// A member of the output that cannot be made.
#[derive(Debug)]
pub(super) struct Failing<'a> {
    member: Member<'a>,
    error: ExprError,
}

/// A member of the output.
#[derive(Debug)]
struct Member<'a> {
    /// JSON pointer; empty if the output is one expression.
    pointer: String,
    /// The steps that it reads.
    reads: BTreeSet<&'a str>,
}

/// What is known of the outputs of steps when the plan was executed.
struct Outputs<'p, 'a> {
    planner: &'p Planner<'a>,
    entries: Entries<'p>,
    /// By node; `None` of one that runs.
    known: BTreeMap<&'a str, Option<Value>>,
}

impl<'a> Planner<'a> {
    /// What of the workflow's output is known not to be to be had.
    pub(super) fn unmade(&self, steps: &[PlannedStep]) -> Unmade<'a> {
        let mut unmade = Unmade::default();
        let leaves = self.given.definition.output.leaves();
        if leaves.is_empty() {
            return unmade;
        }
        let mut outputs = Outputs::of(self, steps);
        for (pointer, leaf) in leaves {
            let reads = leaf.references().filter_map(Reference::step).collect();
            let member = Member { pointer, reads };
            // Whoever reads all steps reads some that are not known.
            if leaf.references().any(|it| it.path == ["steps"]) || !outputs.learn(&member.reads) {
                if leaf.references().any(|it| outputs.hurts(it)) {
                    unmade.doubtful.push(member);
                }
                continue;
            }
            if let Err(error) = outputs.render(leaf) {
                unmade.failing.push(Failing { member, error });
            }
        }
        unmade
    }

    /// Holds the edits to account without which the output could be made.
    pub(super) fn blame(&mut self, unmade: &Unmade<'a>, steps: &[PlannedStep]) {
        let Some(first) = unmade.failing.first() else {
            return;
        };
        let reads = unmade.failing.iter().flat_map(|it| &it.member.reads);
        let causes = causes(reads.copied(), steps);
        let settles = |edit: &&Edit| matches!(edit, Edit::Skip { .. } | Edit::Supply { .. });
        let edits = self.given.edits.iter().map(|recorded| &recorded.edit);
        let named = |edit: &Edit| {
            edit.step()
                .is_some_and(|it| causes.contains(it.node.as_str()))
        };
        let mut to_blame: Vec<&Edit> = edits
            .clone()
            .filter(settles)
            .filter(|it| named(it))
            .collect();
        if to_blame.is_empty() {
            to_blame = edits
                .filter(|it| matches!(it, Edit::Definition { .. }))
                .collect();
        }
        let why = format!(
            "the output of the workflow cannot be made then, at {}: {}",
            unmade.members(),
            first.error
        );
        let unmet = to_blame.into_iter().map(|edit| Unmet {
            edit: edit.clone(),
            code: OUTPUT_IMPOSSIBLE,
            why: why.clone(),
        });
        self.unmet.extend(unmet);
    }
}

/// Nodes, and those because of which they do what they do.
fn causes<'s>(nodes: impl Iterator<Item = &'s str>, steps: &'s [PlannedStep]) -> BTreeSet<&'s str> {
    let mut because: BTreeMap<&str, &[StepId]> = BTreeMap::new();
    let led = steps.iter().filter(|step| !step.because.is_empty());
    because.extend(led.map(|step| (step.id.node.as_str(), step.because.as_slice())));
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = nodes.collect();
    while let Some(node) = next.pop() {
        if found.insert(node) {
            let causes = because.get(node).copied().unwrap_or_default();
            next.extend(causes.iter().map(|id| id.node.as_str()));
        }
    }
    found
}

impl Unmade<'_> {
    /// What of it the reader of a plan should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(first) = self.failing.first() {
            let (members, error) = (self.members(), &first.error);
            warnings.push(format!(
                "the output of the workflow cannot be made, at {members}: {error}"
            ));
        }
        if !self.doubtful.is_empty() {
            let members = named(self.doubtful.iter());
            warnings.push(format!(
                "the output of the workflow reads a step that stays out, at {members}: the job may fail in the end"
            ));
        }
        warnings
    }

    fn members(&self) -> String {
        named(self.failing.iter().map(|failing| &failing.member))
    }
}

/// The places of members, and how many there are if they are many.
fn named<'m>(members: impl ExactSizeIterator<Item = &'m Member<'m>>) -> String {
    let more = members.len().saturating_sub(MEMBERS_NAMED);
    let named = members
        .take(MEMBERS_NAMED)
        .map(|it| match it.pointer.as_str() {
            "" => "/",
            pointer => pointer,
        });
    let named = named.collect::<Vec<_>>().join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl<'p, 'a> Outputs<'p, 'a> {
    fn of(planner: &'p Planner<'a>, steps: &'p [PlannedStep]) -> Self {
        Self {
            planner,
            entries: Entries::of(steps),
            known: BTreeMap::new(),
        }
    }

    /// Whether all of these will have outputs that are known now.
    fn learn(&mut self, nodes: &BTreeSet<&'a str>) -> bool {
        let mut all = true;
        for node in nodes {
            if !self.known.contains_key(node) {
                self.known.insert(node, self.output(node));
            }
            all &= self.known[node].is_some();
        }
        all
    }

    fn render(&self, leaf: &Template) -> Result<(), ExprError> {
        let mut scope = Scope::new().input(&self.planner.given.snapshot.run.input);
        for (node, output) in &self.known {
            if let Some(output) = output {
                scope = scope.step(node, output);
            }
        }
        leaf.render(&scope).map(drop)
    }

    /// Whether a reference reads a member of the output of a step that stays out.
    fn hurts(&self, reference: &Reference) -> bool {
        let Some(node) = reference.step() else {
            return false;
        };
        let mut entries = self.entries.of_node(node).iter();
        let out = entries.all(|it| it.action == Action::Skip);
        out && !reference.null_safe && reference.path.len() > OUTPUT_NAMES
    }

    /// The output that a node will have; `None` if it runs.
    fn output(&self, node: &str) -> Option<Value> {
        let steps = self.entries.of_node(node);
        if let [only] = steps
            && only.id.item.is_none()
        {
            return match (only.action, only.reason) {
                (Action::Skip, _) => Some(Value::Null),
                (Action::Reuse, Reason::SuppliedByOperator) => self.supplied(&only.id),
                (Action::Reuse, _) => Some(self.planner.output(node)),
                _ => None,
            };
        }
        if steps.is_empty() || steps.iter().any(PlannedStep::runs) {
            return None;
        }
        // Each item has an entry: a list that was not read has one for all of it.
        let items = steps.iter().zip(self.planner.records_of(node));
        let items = items.map(|(step, record)| match (step.action, step.reason) {
            (Action::Skip, _) => Some(Value::Null),
            (Action::Reuse, Reason::SuppliedByOperator) => self.supplied(&step.id),
            (Action::Reuse, _) => Some(output_of(record)),
            _ => None,
        });
        items.collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn supplied(&self, step: &StepId) -> Option<Value> {
        let mut edits = self.planner.given.edits.iter();
        edits.find_map(|recorded| match &recorded.edit {
            Edit::Supply { step: of, output } if of == step => Some(output.clone()),
            _ => None,
        })
    }
}
