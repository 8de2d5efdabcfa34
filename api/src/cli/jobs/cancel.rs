use telecine_engine::committer::CommitError;
use telecine_engine::id::RunId;
use telecine_engine::limits;
use telecine_engine::run::RunStatus;

use super::header;
use crate::app::App;
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output;
use crate::document::JobHeader;

/// Characters of a name in a job's history.
const NAME_CHARS: usize = 200;

/// Cancels a job. One that is cancelled already is left as it is; one that has ended otherwise is an
/// error. Whoever works on it notices within about a second, and its child processes end then.
pub(super) async fn cancel(
    app: &App,
    job: &RunId,
    reason: Option<&str>,
    session: &Session,
) -> Result<Exit, CliError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > limits::MESSAGE_CHARS) {
        return Err(CliError::usage(format!(
            "the reason is longer than {} characters",
            limits::MESSAGE_CHARS
        )));
    }
    let result = app.coordinator.cancel(job, &who(), reason).await;
    let run = header(app, job).await?;
    match result {
        Ok(()) => {
            session.console.note(&format!(
                "{job} is cancelled; the `run` command that began it resumes it"
            ));
            if let Err(error) = app.coordinator.verify_plan(job).await {
                tracing::warn!(%error, %job, "the objects of its plan could not be looked at");
            }
        }
        Err(CommitError::Rejected(_)) if run.status == RunStatus::Cancelled => {
            session.console.note(&format!("{job} was cancelled before"));
        }
        Err(CommitError::Rejected(_)) => {
            return Err(CliError::failed(format!(
                "{job} has {} already: there is nothing to cancel",
                run.status
            )));
        }
        Err(error) => return Err(error.into()),
    }
    print(&JobHeader::from(&run), session)
}

/// Prints what became of a job.
pub(in crate::cli) fn print(header: &JobHeader, session: &Session) -> Result<Exit, CliError> {
    output::print_one(session.format, header, || {
        format!("{}  {}  {}", header.id, header.r#type, header.status)
    })?;
    Ok(Exit::Success)
}

/// Who asks, for the job's history: `anna@studio cli`.
pub(in crate::cli) fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let name: String = format!("{user}@{host}").chars().take(NAME_CHARS).collect();
    format!("{} cli", output::printable(&name))
}
