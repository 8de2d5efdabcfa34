use serde_json::{Value, json};

use super::{Facts, Rejected, View};
use crate::id::{SessionId, StepId};
use crate::run::{RunStatus, Running, StepStatus};

/// A session takes a ready step: a new attempt under a new fence. The first one starts the run.
pub(super) fn claim(
    view: &mut View,
    (id, session): (&StepId, &SessionId),
    facts: &Facts,
) -> Result<(), Rejected> {
    if view
        .step(id)
        .is_none_or(|step| step.status != StepStatus::Ready)
    {
        return Err(Rejected::Conflict(format!("step {id} is not ready")));
    }
    start_run(view, facts);
    let step = view.step_mut(id)?;
    step.status = StepStatus::Running;
    step.fence += 1;
    step.attempts += 1;
    step.charged += 1;
    step.started_at.get_or_insert(facts.now);
    let resumed_from = step.checkpoint.as_ref().map(|checkpoint| checkpoint.seq);
    step.running = Some(Box::new(Running {
        session: session.clone(),
        claimed_at: facts.now,
        resumed_from,
    }));
    let data = json!({
        "attempt": step.attempts, "worker": session, "resumed_from": resumed_from,
    });
    view.event("step.claimed", Some(id.clone()), data);
    Ok(())
}

fn start_run(view: &mut View, facts: &Facts) {
    if view.run.status != RunStatus::Queued {
        return;
    }
    view.run.status = RunStatus::Running;
    view.run.started_at.get_or_insert(facts.now);
    view.event("run.started", None, Value::Null);
}
