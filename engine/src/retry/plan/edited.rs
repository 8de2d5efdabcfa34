//! What edits ask of each step.

use std::collections::BTreeMap;

use crate::id::StepId;
use crate::retry::edits::{Edit, RecordedEdit};
use crate::run::Amendments;

/// What is asked of a step, or of all items of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) force: bool,
    pub(super) skip: bool,
    pub(super) supply: bool,
    pub(super) set: bool,
    pub(super) unset: bool,
    pub(super) attempts: Option<u32>,
}

impl Asked {
    fn note(&mut self, edit: &Edit) {
        match edit {
            Edit::Force { .. } => self.force = true,
            Edit::Skip { .. } => self.skip = true,
            Edit::Supply { .. } => self.supply = true,
            Edit::Set { .. } => self.set = true,
            Edit::Unset { .. } => self.unset = true,
            Edit::Budget { attempts, .. } => self.attempts = Some(*attempts),
            Edit::Queue { .. } | Edit::Priority { .. } | Edit::Definition { .. } => {}
        }
    }

    /// Whether it wants the step to run, with other parameters or as it is.
    pub(super) fn runs(self) -> bool {
        self.force || self.set || self.unset
    }

    /// The same but that it runs, which an item of a supplied list cannot do by itself.
    pub(super) fn not_to_run(self) -> Self {
        Self {
            force: false,
            set: false,
            unset: false,
            ..self
        }
    }

    /// What is asked of an item counts for more than what is asked of all of them.
    fn over(self, of_node: Self) -> Self {
        Self {
            force: self.force || of_node.force,
            skip: self.skip || of_node.skip,
            supply: self.supply || of_node.supply,
            set: self.set || of_node.set,
            unset: self.unset || of_node.unset,
            attempts: self.attempts.or(of_node.attempts),
        }
    }
}

/// The edits of a plan by step.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    nodes: BTreeMap<&'a str, Asked>,
    items: BTreeMap<&'a StepId, Asked>,
    /// Of all steps that run.
    attempts: Option<u32>,
    /// What is set, and nothing else.
    pub(super) sets: Amendments,
}

impl<'a> Wanted<'a> {
    pub(super) fn by(edits: &'a [RecordedEdit]) -> Self {
        let mut wanted = Self::default();
        for RecordedEdit { edit, .. } in edits {
            if let Edit::Set { step, path, value } = edit {
                let of_step = wanted.sets.set.entry(step.clone()).or_default();
                of_step.insert(path.clone(), value.clone());
            }
            match (edit.step(), edit) {
                (Some(step), _) if step.item.is_some() => {
                    wanted.items.entry(step).or_default().note(edit);
                }
                (Some(step), _) => wanted.nodes.entry(&step.node).or_default().note(edit),
                (None, Edit::Budget { attempts, .. }) => wanted.attempts = Some(*attempts),
                (None, _) => {}
            }
        }
        wanted
    }

    /// What is asked of a node as a whole.
    pub(super) fn of_node(&self, node: &str) -> Asked {
        let asked = self.nodes.get(node).copied().unwrap_or_default();
        Asked {
            attempts: asked.attempts.or(self.attempts),
            ..asked
        }
    }

    /// What is asked of a step.
    pub(super) fn of_step(&self, step: &StepId) -> Asked {
        let asked = self.items.get(step).copied().unwrap_or_default();
        asked.over(self.of_node(&step.node))
    }

    /// What is asked of single items of a node.
    pub(super) fn of_items(&self, node: &str) -> impl Iterator<Item = (&'a StepId, Asked)> {
        let items = self.items.iter().filter(move |(step, _)| step.node == node);
        items.map(|(step, asked)| (*step, *asked))
    }
}
