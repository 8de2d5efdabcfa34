use super::ready::{known, steps_named};
use super::settle::{end, stop_run};
use super::{Facts, Rejected, View};
use crate::activity::ErrorClass;
use crate::run::{Failure, RunStatus};

/// Names of the nodes whose outputs the run's output reads.
pub(super) fn references(view: &View) -> Vec<String> {
    steps_named(view.definition.output.references())
}

/// Every node is settled and none failed: the run has its output.
pub(super) fn finish(view: &mut View, facts: &Facts) -> Result<(), Rejected> {
    if end(view) != Some(RunStatus::Succeeded) {
        return Err(Rejected::Conflict(format!(
            "the job is {} and has no output yet",
            view.run.status
        )));
    }
    match view
        .definition
        .output
        .render(&known(view, facts).scope(None))
    {
        Ok(output) => {
            view.run.output = Some(output);
            view.run.error = None;
            stop_run(view, RunStatus::Succeeded, facts);
        }
        Err(error) => {
            view.run.error = Some(Failure {
                class: ErrorClass::Config,
                code: "bad_expression".to_owned(),
                message: format!("the output of the workflow cannot be made: {error}"),
                step: None,
            });
            stop_run(view, RunStatus::Failed, facts);
        }
    }
    Ok(())
}
