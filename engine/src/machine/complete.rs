use serde_json::json;

use super::settle::{Settled, settle_step};
use super::{Facts, Rejected, View, fail};
use crate::activity::ErrorClass;
use crate::id::StepId;
use crate::limits;
use crate::run::{AttemptOutcome, Failure, StepStatus};
use crate::store::{AttemptEnd, Outcome};

/// An attempt succeeded: its step has its output.
pub(super) fn complete(
    view: &mut View,
    (id, fence): (&StepId, u64),
    outcome: &Outcome,
    facts: &Facts,
) -> Result<(), Rejected> {
    view.owned(id, fence)?;
    if let Some(error) = too_large(outcome) {
        return fail::fail(view, (id, fence), (&error, outcome.usage), facts);
    }
    let step = view.step_mut(id)?;
    step.output = Some(outcome.output.clone());
    step.error = None;
    step.warnings.clone_from(&outcome.warnings);
    if outcome.progress.is_some() {
        step.progress = outcome.progress;
    }
    let n = step.attempts;
    view.record().attempts.push(AttemptEnd {
        step: id.clone(),
        n,
        outcome: AttemptOutcome::Succeeded,
        error: None,
        usage: outcome.usage,
    });
    view.record()
        .artifacts
        .push((id.clone(), outcome.artifacts.clone()));
    view.event("step.succeeded", Some(id.clone()), json!({"attempt": n}));
    settle_step(
        view,
        id,
        Settled {
            status: StepStatus::Succeeded,
            reason: None,
        },
        facts,
    )
}

fn too_large(outcome: &Outcome) -> Option<Failure> {
    let size = outcome.output.to_string().len();
    (size > limits::OUTPUT_BYTES).then(|| Failure {
        class: ErrorClass::Config,
        code: "limit_exceeded".to_owned(),
        message: format!(
            "the output of the step is {size} bytes; the limit OUTPUT_BYTES is {}",
            limits::OUTPUT_BYTES
        ),
        step: None,
    })
}
