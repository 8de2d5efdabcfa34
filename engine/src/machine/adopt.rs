use std::sync::Arc;

use indexmap::IndexMap;

use super::{Rejected, View};
use crate::definition::Definition;
use crate::id::StepId;
use crate::retry::adoption;
use crate::run::{Node, Run, Step};

/// The header that a run has under another definition.
pub(super) fn header(view: &View, definition: &Definition) -> Result<Run, Rejected> {
    adoption::adopted(&view.run, definition).map_err(|errors| {
        let told: Vec<_> = errors.into_iter().map(|error| error.message).collect();
        Rejected::Conflict(told.join("; "))
    })
}

/// Gives a run another definition: the nodes of the new one in its order, those of the old one that it
/// lacks go with their steps. What a step that both have came to stays.
pub(super) fn adopt(view: &mut View, definition: Arc<Definition>, header: Run) {
    let mut before = std::mem::take(&mut view.nodes);
    let mut nodes = IndexMap::with_capacity(definition.steps.len());
    for (name, step) in &definition.steps {
        let activity = step.activity.to_string();
        let is_list = step.for_each.is_some();
        let node = before.swap_remove(name);
        match &node {
            Some(_) if !is_list => reassign(view, name, activity),
            None if !is_list => {
                let id = StepId::single(name);
                view.insert_step(Step::pending(id, activity, view.run.round));
            }
            _ => {}
        }
        let node = node.unwrap_or_else(|| Node::pending(name, is_list));
        nodes.insert(name.clone(), node);
    }
    for name in before.keys() {
        view.collapse(name);
    }
    let amendments = view.amend();
    let stays = |id: &StepId| definition.steps.contains_key(&id.node);
    amendments.set.retain(|id, _| stays(id));
    amendments.damaged.retain(|id, _| stays(id));
    amendments.out.retain(stays);
    view.nodes = nodes;
    view.definition = definition;
    view.run.version = header.version;
    view.run.definition = header.definition;
    view.run.input = header.input;
}

/// The row of a step says which activity it is: it is made anew if that is another one. The steps of a list
/// are made anew when the list is read.
fn reassign(view: &mut View, name: &str, activity: String) {
    let known = view.step(&StepId::single(name));
    let Some(step) = known.filter(|step| step.activity != activity).cloned() else {
        return;
    };
    view.collapse(name);
    view.insert_step(Step {
        activity,
        checkpoint: None,
        checkpoint_failures: 0,
        ..step
    });
}
