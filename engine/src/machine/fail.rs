use std::borrow::Cow;

use chrono::TimeDelta;
use serde_json::json;

use super::settle::{Settled, blame, settle_step};
use super::{Facts, Rejected, View};
use crate::activity::{ErrorClass, Usage};
use crate::definition::{OnFailure, RetryPolicy, StepDef};
use crate::id::StepId;
use crate::limits;
use crate::retry::policy::{self, OBJECT_MISSING, Verdict};
use crate::run::{AttemptOutcome, Failure, Step, StepStatus};
use crate::store::AttemptEnd;

/// A step and the fence of the attempt that reports.
type Owner<'a> = (&'a StepId, u64);

/// An attempt failed: try again later, wait for a person, or give up.
pub(super) fn fail(
    view: &mut View,
    (id, fence): Owner<'_>,
    (error, usage): (&Failure, Usage),
    facts: &Facts,
) -> Result<(), Rejected> {
    let step = view.owned(id, fence)?.clone();
    end_attempt(view, &step, AttemptOutcome::Failed, (Some(error), usage));
    if blames_checkpoint(error.class) {
        distrust_checkpoint(view, id)?;
    }
    let definition = view.definition_of(&id.node)?;
    let retry = granted(&definition.retry, view.amendments.attempts_of(id));
    let verdict = policy::after_failure(&retry, error, &step, view.run.id.as_str());
    let on_failure = match definition.on_failure {
        OnFailure::Fail if needs_what_is_not_planned(view, definition, error) => OnFailure::Hold,
        on_failure => on_failure,
    };
    let row = view.step_mut(id)?;
    row.error = Some(Box::new(error.clone()));
    row.losses = 0;
    match &verdict {
        Verdict::Retry { charged: false, .. } => {
            row.charged = step.charged.saturating_sub(1);
            row.outages = step.outages + 1;
        }
        // One that is charged ends no row of outages: it is the first that is not waited for any more.
        _ if error.class == ErrorClass::Dependency => {}
        Verdict::Retry { .. } | Verdict::GiveUp => row.outages = 0,
    }
    match verdict {
        Verdict::Retry { after, set, .. } => back_off(view, id, (error, after, set), facts),
        Verdict::GiveUp if on_failure == OnFailure::Hold => hold(view, id, error, facts),
        Verdict::GiveUp => give_up(view, id, error, facts),
    }
}

/// The retry policy with as many attempts as the plan grants that is being executed.
fn granted(policy: &RetryPolicy, attempts: Option<u32>) -> Cow<'_, RetryPolicy> {
    match attempts {
        None => Cow::Borrowed(policy),
        Some(max_attempts) => Cow::Owned(RetryPolicy {
            max_attempts,
            ..policy.clone()
        }),
    }
}

/// Whether a step of an executed plan misses an object that an earlier step made: that one would have to
/// run again, and the plan does not name it. A new plan will, and a person decides.
fn needs_what_is_not_planned(view: &View, definition: &StepDef, error: &Failure) -> bool {
    view.run.round > 1 && error.code == OBJECT_MISSING && !definition.needs.is_empty()
}

/// Adds what an attempt wanted the user to know.
pub(super) fn note_warnings(view: &mut View, id: &StepId, warnings: &[String]) {
    if warnings.is_empty() {
        return;
    }
    if let Ok(step) = view.step_mut(id) {
        step.warnings = warnings.to_vec();
    }
}

/// A worker that shuts down gives a step back: ready at once, nothing charged.
pub(super) fn release(
    view: &mut View,
    (id, fence): Owner<'_>,
    usage: Usage,
    _facts: &Facts,
) -> Result<(), Rejected> {
    let step = view.owned(id, fence)?.clone();
    end_attempt(view, &step, AttemptOutcome::Released, (None, usage));
    view.event(
        "step.released",
        Some(id.clone()),
        json!({"attempt": step.attempts}),
    );
    requeue(view, id)?.charged = step.charged.saturating_sub(1);
    Ok(())
}

/// The session that ran an attempt is dead: ready at once, on a budget of its own. A step that
/// lost too many sessions in a row, with no checkpoint in between, may be what kills them: the last ones it
/// had for itself.
pub(super) fn lose(view: &mut View, (id, fence): Owner<'_>, facts: &Facts) -> Result<(), Rejected> {
    let step = view.owned(id, fence)?.clone();
    let error = Failure {
        class: ErrorClass::Lost,
        code: "worker_lost".to_owned(),
        message: "the worker that ran the step went away".to_owned(),
        step: None,
    };
    end_attempt(
        view,
        &step,
        AttemptOutcome::Lost,
        (Some(&error), Usage::default()),
    );
    view.event(
        "step.lost",
        Some(id.clone()),
        json!({"attempt": step.attempts}),
    );
    let row = view.step_mut(id)?;
    row.error = Some(Box::new(error.clone()));
    row.charged = step.charged.saturating_sub(1);
    row.losses = step.losses + 1;
    if row.losses >= limits::LOSSES_IN_A_ROW + limits::LOSSES_ALONE {
        let (losses, alone) = (row.losses, limits::LOSSES_ALONE);
        let message = format!(
            "{losses} workers in a row went away while they ran the step, the last {alone} while nothing else \
             ran on them"
        );
        let error = Failure { message, ..error };
        row.error = Some(Box::new(error.clone()));
        return hold(view, id, &error, facts);
    }
    requeue(view, id)?;
    Ok(())
}

/// No worker can run a ready step.
pub(super) fn hold_ready(
    view: &mut View,
    id: &StepId,
    error: &Failure,
    facts: &Facts,
) -> Result<(), Rejected> {
    if view
        .step(id)
        .is_none_or(|step| step.status != StepStatus::Ready)
    {
        return Err(Rejected::Conflict(format!("step {id} is not ready")));
    }
    view.step_mut(id)?.error = Some(Box::new(error.clone()));
    hold(view, id, error, facts)
}

/// A step's backoff is over.
pub(super) fn wake(view: &mut View, id: &StepId) -> Result<(), Rejected> {
    if view
        .step(id)
        .is_none_or(|step| step.status != StepStatus::Backoff)
    {
        return Err(Rejected::Conflict(format!(
            "step {id} does not wait for a retry"
        )));
    }
    requeue(view, id)?;
    view.event("step.ready", Some(id.clone()), json!(null));
    Ok(())
}

fn requeue<'a>(view: &'a mut View, id: &StepId) -> Result<&'a mut Step, Rejected> {
    let step = view.step_mut(id)?;
    step.status = StepStatus::Ready;
    step.running = None;
    step.due_at = None;
    step.deadline_at = None;
    Ok(step)
}

fn back_off(
    view: &mut View,
    id: &StepId,
    (error, after, set): (
        &Failure,
        std::time::Duration,
        serde_json::Map<String, serde_json::Value>,
    ),
    facts: &Facts,
) -> Result<(), Rejected> {
    let step = view.step_mut(id)?;
    step.status = StepStatus::Backoff;
    step.running = None;
    step.deadline_at = None;
    step.due_at = Some(facts.now + TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX));
    let mut differs = false;
    if let Some(serde_json::Value::Object(input)) = &mut step.input {
        differs = set
            .iter()
            .any(|(name, value)| input.get(name) != Some(value));
        input.extend(set.clone());
    }
    let parameters_changed = differs && step.checkpoint.is_some();
    if parameters_changed {
        // What was made with the old parameters cannot be continued with the new ones.
        step.checkpoint = None;
        step.checkpoint_failures = 0;
    }
    let data = json!({
        "attempt": step.attempts, "error": error, "after_s": after.as_secs_f64(), "set": set,
    });
    view.event("step.backoff", Some(id.clone()), data);
    if parameters_changed {
        view.record().forgotten.push(id.clone());
    }
    Ok(())
}

fn hold(view: &mut View, id: &StepId, error: &Failure, facts: &Facts) -> Result<(), Rejected> {
    blame(view, id, error);
    view.event("step.held", Some(id.clone()), json!({"error": error}));
    let reason = Some(format!("waits for a decision: {}", error.message));
    settle_step(
        view,
        id,
        Settled {
            status: StepStatus::Held,
            reason,
        },
        facts,
    )
}

fn give_up(view: &mut View, id: &StepId, error: &Failure, facts: &Facts) -> Result<(), Rejected> {
    blame(view, id, error);
    let attempt = view.step(id).map(|step| step.attempts);
    view.event(
        "step.failed",
        Some(id.clone()),
        json!({"attempt": attempt, "error": error}),
    );
    settle_step(
        view,
        id,
        Settled {
            status: StepStatus::Failed,
            reason: None,
        },
        facts,
    )
}

/// Whether a failure may be due to what the attempt continued from. A full disk or a service that
/// is away is not, and dropping the checkpoint for it would throw away durable work.
fn blames_checkpoint(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Bug | ErrorClass::Stalled | ErrorClass::Timeout
    )
}

/// Counts failures on the same checkpoint; the second one drops it, in case it is the cause.
fn distrust_checkpoint(view: &mut View, id: &StepId) -> Result<(), Rejected> {
    let step = view.step_mut(id)?;
    let Some(checkpoint) = step.checkpoint.as_deref().copied() else {
        return Ok(());
    };
    step.checkpoint_failures += 1;
    if step.checkpoint_failures < limits::FAILURES_PER_CHECKPOINT {
        return Ok(());
    }
    step.checkpoint = None;
    step.checkpoint_failures = 0;
    view.record().forgotten.push(id.clone());
    view.event(
        "step.checkpoint_dropped",
        Some(id.clone()),
        json!({"seq": checkpoint.seq}),
    );
    Ok(())
}

pub(super) fn end_attempt(
    view: &mut View,
    step: &Step,
    outcome: AttemptOutcome,
    (error, usage): (Option<&Failure>, Usage),
) {
    let end = AttemptEnd::of(step, outcome, (error, usage));
    view.record().attempts.extend(end);
}
