use telecine_engine::id::RunId;

use super::{cancel, header};
use crate::app::App;
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::document::JobHeader;

/// Executes the retry plan of a job. What goes on with it is a worker: this process is none.
pub(super) async fn retry(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let Some(plan) = app.coordinator.verify_plan(job).await? else {
        let status = header(app, job).await?.status;
        return Err(CliError::failed(format!(
            "{job} is {status}: there is nothing to retry"
        )));
    };
    if !plan.executable {
        let why = match plan.warnings.is_empty() {
            true => "trying again as it is would not help".to_owned(),
            false => plan.warnings.join("; "),
        };
        return Err(CliError::failed(why));
    }
    app.coordinator.execute(plan).await?;
    let note = "a worker goes on with it, or the `telecine run` command that began it";
    session.console.note(note);
    cancel::print(&JobHeader::from(&header(app, job).await?), session)
}
