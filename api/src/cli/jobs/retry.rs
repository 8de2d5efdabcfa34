use telecine_engine::id::RunId;
use telecine_engine::retry::world::Verification;

use super::cancel;
use super::header;
use crate::app::App;
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::document::JobHeader;

/// Executes the retry plan of a job. What goes on with it is a worker: this process is none.
pub(super) async fn retry(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let plan = app.coordinator.verify(job, Verification::Heads).await?;
    let by = cancel::who();
    app.coordinator.execute(job, &plan.seen(), &by).await?;
    let note = "a worker goes on with it, or the `run` command that began it";
    session.console.note(note);
    cancel::print(&JobHeader::from(&header(app, job).await?), session)
}
