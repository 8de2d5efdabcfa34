//! What follows when a step moves no more: its node, the nodes that need it, the run.

use serde_json::json;

use super::{Command, Facts, Rejected, View};
use crate::definition::OnFailure;
use crate::id::StepId;
use crate::run::{Failure, RunStatus, StepStatus};

/// How a step settles.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) status: StepStatus,
    pub(super) reason: Option<String>,
}

/// Settles a loaded step, and its node with the last one.
pub(super) fn settle_step(
    view: &mut View,
    id: &StepId,
    settled: Settled,
    facts: &Facts,
) -> Result<(), Rejected> {
    let step = view.step_mut(id)?;
    step.status = settled.status;
    step.reason.clone_from(&settled.reason);
    step.running = None;
    step.due_at = None;
    step.deadline_at = None;
    step.ended_at = Some(facts.now);
    let node = view.node_mut(&id.node)?;
    node.settled += 1;
    match settled.status {
        StepStatus::Failed => node.failed += 1,
        StepStatus::Held => node.held += 1,
        _ => {}
    }
    if id.item.is_none() {
        node.reason = settled.reason;
    }
    if node.total.is_none_or(|total| node.settled < total) {
        return Ok(());
    }
    let status = match (node.held, node.failed) {
        // A list some of whose items were left out is there all the same.
        (0, 0) if id.item.is_some() => StepStatus::Succeeded,
        (0, 0) => settled.status,
        (0, _) => StepStatus::Failed,
        _ => StepStatus::Held,
    };
    settle_node(view, &id.node, status)
}

/// Settles a node none of whose steps was started.
pub(super) fn settle_untouched(
    view: &mut View,
    name: &str,
    settled: Settled,
) -> Result<(), Rejected> {
    let node = view.node_mut(name)?;
    node.reason.clone_from(&settled.reason);
    node.status = settled.status;
    let row = node.clone();
    let kind = format!("step.{}", settled.status);
    view.record().untouched.push(row);
    view.event(
        &kind,
        Some(StepId::single(name)),
        json!({"reason": settled.reason}),
    );
    settle_node(view, name, settled.status)
}

/// Gives a node its final state and moves on the nodes that need it.
pub(super) fn settle_node(view: &mut View, name: &str, status: StepStatus) -> Result<(), Rejected> {
    view.node_mut(name)?.status = status;
    let dependents: Vec<String> = view
        .definition
        .steps
        .iter()
        .filter(|(_, step)| step.needs.iter().any(|need| need.step == name))
        .map(|(dependent, _)| dependent.clone())
        .collect();
    for dependent in dependents {
        advance(view, &dependent)?;
    }
    Ok(())
}

/// Moves on every pending node whose needs are settled.
pub(super) fn advance_all(view: &mut View) -> Result<(), Rejected> {
    let names: Vec<String> = view.nodes.keys().cloned().collect();
    for name in names {
        advance(view, &name)?;
    }
    Ok(())
}

/// What a node can do, as far as the nodes it needs go.
pub(super) enum Prospect {
    Wait,
    Ready,
    Skip(String),
    Block(String),
}

fn advance(view: &mut View, name: &str) -> Result<(), Rejected> {
    if view
        .nodes
        .get(name)
        .is_none_or(|node| node.status != StepStatus::Pending)
    {
        return Ok(());
    }
    match prospect(view, name)? {
        Prospect::Wait => Ok(()),
        Prospect::Ready => {
            let command = Command::Ready {
                node: name.to_owned(),
            };
            if !view.record().follow_ups.contains(&command) {
                view.record().follow_ups.push(command);
            }
            Ok(())
        }
        Prospect::Skip(reason) => settle_untouched(
            view,
            name,
            Settled {
                status: StepStatus::Skipped,
                reason: Some(reason),
            },
        ),
        Prospect::Block(reason) => settle_untouched(
            view,
            name,
            Settled {
                status: StepStatus::Blocked,
                reason: Some(reason),
            },
        ),
    }
}

pub(super) fn prospect(view: &View, name: &str) -> Result<Prospect, Rejected> {
    let mut skipped = None;
    let mut blocked = None;
    for need in &view.definition_of(name)?.needs {
        let Some(node) = view.nodes.get(&need.step) else {
            continue;
        };
        match node.status {
            StepStatus::Succeeded => {}
            StepStatus::Skipped if need.any => {}
            StepStatus::Skipped => skipped = Some(format!("{} was skipped", need.step)),
            StepStatus::Failed if tolerates_failure(view, &need.step) => {}
            StepStatus::Failed => blocked = Some(format!("{} failed", need.step)),
            StepStatus::Blocked => blocked = Some(format!("{} is blocked", need.step)),
            StepStatus::Cancelled => blocked = Some(format!("{} was cancelled", need.step)),
            _ => return Ok(Prospect::Wait),
        }
    }
    Ok(match (blocked, skipped) {
        (Some(reason), _) => Prospect::Block(reason),
        (None, Some(reason)) => Prospect::Skip(reason),
        (None, None) => Prospect::Ready,
    })
}

/// Whether others go on when a node fails.
pub(super) fn tolerates_failure(view: &View, node: &str) -> bool {
    view.definition
        .steps
        .get(node)
        .is_some_and(|step| step.on_failure == OnFailure::Continue)
}

/// Stops the run when nothing can advance any more.
pub(super) fn settle_run(view: &mut View, facts: &Facts) {
    match end(view) {
        None => {}
        Some(RunStatus::Succeeded) => view.record().follow_ups.push(Command::Finish),
        Some(status) => stop_run(view, status, facts),
    }
}

/// How a run ends in which nothing can advance any more; `None` as long as something can, or if it has
/// ended.
pub(super) fn end(view: &View) -> Option<RunStatus> {
    if view.run.status.is_stopped() || view.nodes.keys().any(|name| can_advance(view, name)) {
        return None;
    }
    let held = view
        .nodes
        .values()
        .any(|node| node.status == StepStatus::Held);
    let failed = view.nodes.values().any(|node| match node.status {
        StepStatus::Blocked => true,
        StepStatus::Failed => !tolerates_failure(view, &node.name),
        _ => false,
    });
    Some(match (held, failed) {
        (true, _) => RunStatus::Held,
        (false, true) => RunStatus::Failed,
        (false, false) => RunStatus::Succeeded,
    })
}

/// Whether a node is being worked on, or will be in this very fold.
fn can_advance(view: &View, name: &str) -> bool {
    match view.nodes.get(name).map(|node| node.status) {
        Some(StepStatus::Ready) => true,
        Some(StepStatus::Pending) => matches!(prospect(view, name), Ok(Prospect::Ready)),
        _ => false,
    }
}

/// Stops the run in a state and says so.
pub(super) fn stop_run(view: &mut View, status: RunStatus, facts: &Facts) {
    view.run.status = status;
    view.run.ended_at = Some(facts.now);
    let data = json!({"round": view.run.round, "error": view.run.error});
    view.event(&format!("run.{status}"), None, data);
}

/// Notes the first failure that matters as the run's.
pub(super) fn blame(view: &mut View, step: &StepId, error: &Failure) {
    if view.run.error.is_none() && !tolerates_failure(view, &step.node) {
        view.run.error = Some(Failure {
            step: Some(step.clone()),
            ..error.clone()
        });
    }
}
