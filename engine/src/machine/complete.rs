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
        step.progress = outcome.progress.map(Box::new);
    }
    let n = step.attempts;
    let end = AttemptEnd::of(step, AttemptOutcome::Succeeded, (None, outcome.usage));
    view.record().attempts.extend(end);
    view.record()
        .artifacts
        .push((id.clone(), outcome.artifacts.clone()));
    share(view, id, outcome);
    let mut data = json!({"attempt": n});
    let made = outcome.made.as_ref();
    if let Some(origin) = made.and_then(|made| made.reused_from.as_ref()) {
        data["reused_from"] = json!(origin);
    }
    view.event("step.succeeded", Some(id.clone()), data);
    if view.amendments.damaged.contains_key(id) {
        view.amend().damaged.remove(id);
    }
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

/// Records what the step's reuse key is made of, and what other runs may take.
fn share(view: &mut View, id: &StepId, outcome: &Outcome) {
    let record = view.record();
    let made = outcome.made.as_deref().into_iter();
    record
        .made
        .extend(made.map(|made| (id.clone(), made.clone())));
    let shared = outcome.shared.as_deref().into_iter();
    record
        .shared
        .extend(shared.map(|shared| (id.clone(), shared.clone())));
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
