use serde_json::json;

use super::fail::end_attempt;
use super::settle::stop_run;
use super::{Facts, Rejected, View};
use crate::activity::{ErrorClass, Usage};
use crate::id::StepId;
use crate::run::{AttemptOutcome, Failure, RunStatus, StepStatus};

/// Cancels a run: every step that is not settled is cancelled. Running attempts find out with
/// their next fenced write, or earlier from their worker.
pub(super) fn cancel(
    view: &mut View,
    (by, reason): (&str, Option<&str>),
    facts: &Facts,
) -> Result<(), Rejected> {
    if matches!(
        view.run.status,
        RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled
    ) {
        return Err(Rejected::Conflict(format!(
            "the job is {} already",
            view.run.status
        )));
    }
    // Those that settled in this very transaction are at hand too.
    let open: Vec<StepId> = view
        .steps()
        .filter(|step| !step.status.is_settled())
        .map(|step| step.id.clone())
        .collect();
    for id in open {
        let step = view.step_mut(&id)?;
        let (was, row) = (step.status, step.clone());
        step.status = StepStatus::Cancelled;
        step.running = None;
        step.due_at = None;
        step.deadline_at = None;
        step.ended_at = Some(facts.now);
        if was == StepStatus::Running {
            end_attempt(
                view,
                &row,
                AttemptOutcome::Cancelled,
                (None, Usage::default()),
            );
        }
        view.event("step.cancelled", Some(id), json!(null));
    }
    let open: Vec<String> = view
        .nodes
        .values()
        .filter(|node| matches!(node.status, StepStatus::Pending | StepStatus::Ready))
        .map(|node| node.name.clone())
        .collect();
    for name in open {
        view.node_mut(&name)?.status = StepStatus::Cancelled;
    }
    view.event(
        "run.cancel_requested",
        None,
        json!({"by": by, "reason": reason}),
    );
    view.run.error = Some(cancelled(by, reason));
    stop_run(view, RunStatus::Cancelled, facts);
    Ok(())
}

/// What the run says of its end; a failure from before is in its step.
fn cancelled(by: &str, reason: Option<&str>) -> Failure {
    Failure {
        class: ErrorClass::Cancelled,
        code: "cancelled".to_owned(),
        message: match reason {
            Some(reason) => format!("cancelled by {by}: {reason}"),
            None => format!("cancelled by {by}"),
        },
        step: None,
    }
}
