use std::collections::BTreeSet;

use serde_json::json;

use super::{Facts, Rejected, View, settle};
use crate::id::StepId;
use crate::retry::plan::{Action, PlannedStep, RetryPlan};
use crate::run::{Node, RunStatus, StepStatus};

/// Executes a plan: the same run, its next round. Steps that the plan reuses are not touched;
/// nothing runs that it does not name.
pub(super) fn reopen(view: &mut View, plan: &RetryPlan, _facts: &Facts) -> Result<(), Rejected> {
    check(view, plan)?;
    view.run.status = RunStatus::Running;
    view.run.round += 1;
    view.run.error = None;
    view.run.ended_at = None;
    let data = json!({"plan": plan.id, "digest": plan.digest, "round": view.run.round});
    view.event("run.reopened", None, data);
    for step in &plan.steps {
        if matches!(step.action, Action::Resume | Action::Rerun) {
            reset(view, step)?;
        }
    }
    let nodes: BTreeSet<&str> = plan
        .steps
        .iter()
        .map(|step| step.id.node.as_str())
        .collect();
    for node in nodes {
        recount(view, node)?;
    }
    settle::advance_all(view)
}

fn check(view: &View, plan: &RetryPlan) -> Result<(), Rejected> {
    if !view.run.status.is_stopped() || view.run.status == RunStatus::Succeeded {
        return Err(Rejected::Conflict(format!(
            "the job is {}",
            view.run.status
        )));
    }
    if plan.basis.revision != view.run.revision {
        return Err(Rejected::Conflict(
            "the job has changed since the plan was made".to_owned(),
        ));
    }
    if !plan.executable {
        return Err(Rejected::Conflict(
            "the plan cannot be executed as it is".to_owned(),
        ));
    }
    Ok(())
}

/// Puts a step, or a whole node, back to where it can run.
fn reset(view: &mut View, planned: &PlannedStep) -> Result<(), Rejected> {
    let id = &planned.id;
    let fan_out = view.definition_of(&id.node)?.for_each.is_some();
    if fan_out && id.item.is_none() {
        view.collapse(&id.node);
        *view.node_mut(&id.node)? = Node::pending(&id.node, true);
        return Ok(());
    }
    let step = view.step_mut(id)?;
    // An item keeps its rendered input; a single step's is rendered anew.
    step.status = if fan_out {
        StepStatus::Ready
    } else {
        StepStatus::Pending
    };
    step.charged = 0;
    step.losses = 0;
    step.output = None;
    step.error = None;
    step.reason = None;
    step.progress = None;
    // The step's total time counts from its first claim of the new round.
    step.started_at = None;
    step.ended_at = None;
    step.warnings.clear();
    if planned.action == Action::Rerun {
        step.checkpoint = None;
        step.checkpoint_failures = 0;
        view.record().forgotten.push(id.clone());
    }
    Ok(())
}

/// Sets a node's counters to what its steps say after the reset.
fn recount(view: &mut View, name: &str) -> Result<(), Rejected> {
    let steps: Vec<(StepId, StepStatus)> = view
        .step_ids()
        .into_iter()
        .filter(|id| id.node == name)
        .filter_map(|id| view.step(&id).map(|step| (id.clone(), step.status)))
        .collect();
    if steps.iter().all(|(_, status)| status.is_settled()) {
        return Ok(());
    }
    let count = |wanted: fn(StepStatus) -> bool| {
        u32::try_from(steps.iter().filter(|(_, status)| wanted(*status)).count())
            .unwrap_or(u32::MAX)
    };
    let single = steps.len() == 1 && steps[0].0.item.is_none();
    let node = view.node_mut(name)?;
    node.settled = count(StepStatus::is_settled);
    node.failed = count(|status| status == StepStatus::Failed);
    node.held = count(|status| status == StepStatus::Held);
    node.status = if single {
        StepStatus::Pending
    } else {
        StepStatus::Ready
    };
    node.reason = None;
    Ok(())
}
