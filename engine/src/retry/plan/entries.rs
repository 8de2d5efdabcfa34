use std::collections::BTreeMap;

use super::PlannedStep;
use crate::id::StepId;

/// The entries of a plan by node.
#[derive(Debug)]
pub(super) struct Entries<'s> {
    all: &'s [PlannedStep],
    nodes: BTreeMap<&'s str, &'s [PlannedStep]>,
}

impl<'s> Entries<'s> {
    /// Of steps in the order of the definition, items in that of their list.
    pub(super) fn of(all: &'s [PlannedStep]) -> Self {
        let nodes = all.chunk_by(|a, b| a.id.node == b.id.node);
        let nodes = nodes.filter_map(|of_node| Some((of_node.first()?.id.node.as_str(), of_node)));
        let nodes = nodes.collect();
        Self { all, nodes }
    }

    pub(super) fn all(&self) -> &'s [PlannedStep] {
        self.all
    }

    /// Those of a node: one for all of it, or one for each item.
    pub(super) fn of_node(&self, node: &str) -> &'s [PlannedStep] {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    /// Those that a step, or all items of a node, has: that of the whole node if it has no other.
    pub(super) fn meant(&self, step: &StepId) -> &'s [PlannedStep] {
        let of_node = self.of_node(&step.node);
        let whole = of_node.first().is_some_and(|first| first.id.item.is_none());
        if step.item.is_none() || whole {
            return of_node;
        }
        let place = of_node.binary_search_by_key(&step.item, |entry| entry.id.item);
        place.map_or(&of_node[..0], |place| &of_node[place..=place])
    }
}
