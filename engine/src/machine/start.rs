use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Facts, Rejected, View, settle};
use crate::definition::Definition;
use crate::id::StepId;
use crate::run::{Node, Run, RunStatus, Step};
use crate::store::NewRun;

/// The rows of a run that has just been accepted: every node pending, and a step for each node
/// without `for_each`.
#[must_use]
pub fn plan_run(run: Run, definition: &Definition, now: DateTime<Utc>) -> NewRun {
    let nodes = definition
        .steps
        .iter()
        .map(|(name, step)| Node::pending(name, step.for_each.is_some()))
        .collect();
    let steps = definition
        .steps
        .iter()
        .filter(|(_, step)| step.for_each.is_none())
        .map(|(name, step)| {
            Step::pending(StepId::single(name), step.activity.to_string(), run.round)
        })
        .collect();
    NewRun {
        run: Run {
            created_at: now,
            ..run
        },
        nodes,
        steps,
    }
}

/// Opens every node that needs nothing.
pub(super) fn start(view: &mut View, _facts: &Facts) -> Result<(), Rejected> {
    if view.run.status != RunStatus::Queued || view.run.events > 0 {
        return Err(Rejected::Conflict(format!(
            "the job is {} already",
            view.run.status
        )));
    }
    let data = json!({"workflow": view.run.workflow, "version": view.run.version});
    view.event("run.submitted", None, data);
    settle::advance_all(view)
}
