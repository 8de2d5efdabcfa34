//! `telecine jobs`: what the database knows of jobs.

pub(super) mod cancel;
mod events;
pub(super) mod remote;
mod retry;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use telecine_engine::definition::units;
use telecine_engine::id::{RunId, SessionId};
use telecine_engine::run::{Run, RunStatus};
use telecine_engine::store::{Life, RunFilter, StoreError};

use super::exit::{CliError, Exit};
use super::follow::Follower;
use super::output;
use super::remote::Server;
use super::summary;
use super::{Session, again};
use crate::app::App;
use crate::document::{JobDocument, JobHeader, Sources};

/// The id that stands for the latest job.
const LAST: &str = "@last";
/// How long `jobs watch` waits unless it is told: longer than any job may take.
const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 3600);
/// Ids that are named when a prefix fits several.
const CANDIDATES: usize = 5;
/// Who goes on with a job that was left alone.
pub(super) const LEFT_ALONE: &str =
    "no process works on this job; the `run` command that began it resumes it";

#[derive(Debug, Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first
    List {
        /// Only jobs in this state
        #[arg(long, value_enum)]
        status: Option<Status>,
        /// Only jobs of this workflow
        #[arg(long = "type", value_name = "WORKFLOW")]
        workflow: Option<String>,
        /// At most so many
        #[arg(
            long,
            default_value_t = 20,
            value_name = "N",
            allow_negative_numbers = true
        )]
        limit: usize,
    },
    /// Show a job: steps, attempts, results, and what would run again
    Get {
        /// Its id, the beginning of it, or `@last`
        id: String,
        /// All entries of long lists
        #[arg(long)]
        all: bool,
    },
    /// Follow a job until it stops
    Watch {
        /// Its id, the beginning of it, or `@last`
        id: String,
        /// Give up after so long, with exit code 124
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// The history of a job: every change of state, with its time and its cause
    Events {
        /// Its id, the beginning of it, or `@last`
        id: String,
        /// Go on until the job stops
        #[arg(short, long)]
        follow: bool,
        /// Only what comes after the event of this number
        #[arg(
            long,
            default_value_t = 0,
            value_name = "SEQ",
            allow_negative_numbers = true
        )]
        after: u64,
        /// At most so many events
        #[arg(
            long,
            value_name = "N",
            conflicts_with = "follow",
            allow_negative_numbers = true
        )]
        limit: Option<usize>,
    },
    /// Cancel a job, also one that another process works on
    Cancel {
        /// Its id, the beginning of it, or `@last`
        id: String,
        /// Why, for whoever reads its history
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Execute the retry plan of a job that stopped: workers go on with it
    Retry {
        /// Its id, the beginning of it, or `@last`
        id: String,
    },
}

/// States as the command line names them.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Status {
    Queued,
    Running,
    Held,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Held => Self::Held,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|e| e.to_string())
}

pub(super) async fn run(command: JobsCommand, session: &Session) -> Result<Exit, CliError> {
    if let Some(server) = Server::of(&session.config)? {
        return remote::run(command, &server, session).await;
    }
    let database = &session.config.database;
    if !App::is_there(database) {
        return nothing(&command, session);
    }
    let app = App::open(database, session.config.objects.clone())
        .await?
        .with_activities(session.program.registry.clone());
    match command {
        JobsCommand::List {
            status,
            workflow,
            limit,
        } => {
            let filter = RunFilter {
                status: status.map(RunStatus::from),
                workflow,
                limit,
                ..RunFilter::default()
            };
            list(&app, filter, session).await?;
            Ok(Exit::Success)
        }
        JobsCommand::Get { id, all } => {
            let job = find(&app, &id).await?;
            note_if_left_alone(&app, &job, session).await?;
            let document = document(&app, &job).await?;
            let document = if all { document } else { document.abridged() };
            summary::print(session.format, &document)?;
            Ok(Exit::Success)
        }
        JobsCommand::Watch { id, timeout } => {
            let job = find(&app, &id).await?;
            watch(&app, &job, timeout, session).await
        }
        JobsCommand::Events {
            id,
            follow,
            after,
            limit,
        } => {
            let job = find(&app, &id).await?;
            let wanted = events::Wanted {
                after,
                limit,
                follow,
            };
            events::print(&app, &job, wanted, session.format).await
        }
        JobsCommand::Cancel { id, reason } => {
            let job = find(&app, &id).await?;
            cancel::cancel(&app, &job, reason.as_deref(), session).await
        }
        JobsCommand::Retry { id } => {
            let job = find(&app, &id).await?;
            retry::retry(&app, &job, session).await
        }
    }
}

/// No job was ever run here. Looking makes no directory.
fn nothing(command: &JobsCommand, session: &Session) -> Result<Exit, CliError> {
    let note = format!(
        "there are no jobs in {}; `{} run` makes them, --data-dir names another place",
        session.config.database,
        again::called()
    );
    if !matches!(command, JobsCommand::List { .. }) {
        return Err(CliError::not_found(note));
    }
    session.console.note(&note);
    print_headers(&[], session)?;
    Ok(Exit::Success)
}

async fn list(app: &App, filter: RunFilter, session: &Session) -> Result<(), CliError> {
    let (limit, mut filter) = (filter.limit, filter);
    let mut headers: Vec<JobHeader> = Vec::new();
    // A page of a filter that little fits may be empty and not the last.
    let more = loop {
        filter.limit = limit - headers.len();
        let page = app.store().list_runs(&filter).await?;
        headers.extend(page.runs.iter().map(JobHeader::from));
        filter.before = page.before;
        if filter.before.is_none() || headers.len() >= limit {
            break filter.before.is_some();
        }
    };
    print_headers(&headers, session)?;
    if more {
        let note = format!("these are the latest {limit}; --limit shows more");
        session.console.note(&note);
    }
    Ok(())
}

fn print_headers(headers: &[JobHeader], session: &Session) -> Result<(), CliError> {
    output::print_list(session.format, headers, || {
        let mut table = output::table(&["job", "type", "status", "source", "created"]);
        for job in headers {
            table.add_row([
                job.id.to_string(),
                job.r#type.clone(),
                job.status.to_string(),
                output::shortened(job.source.as_deref().unwrap_or_default()),
                job.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        output::lines(&table)
    })
}

async fn watch(
    app: &App,
    job: &RunId,
    timeout: Option<Duration>,
    session: &Session,
) -> Result<Exit, CliError> {
    note_if_left_alone(app, job, session).await?;
    let mut follower = Follower::join(app, job, session).await?;
    let waited = tokio::time::timeout(timeout.unwrap_or(FOR_EVER), follower.until_stopped()).await;
    drop(follower);
    let document = document(app, job).await?.abridged();
    summary::print(session.format, &document)?;
    match waited {
        Ok(followed) => followed.map(|()| Exit::of_job(document.status)),
        Err(_) => Ok(Exit::TimedOut),
    }
}

/// Says so if a job is to be worked on and nobody does.
async fn note_if_left_alone(app: &App, job: &RunId, session: &Session) -> Result<(), CliError> {
    if is_left_alone(app, job).await? {
        session.console.note(LEFT_ALONE);
    }
    Ok(())
}

/// Whether a job is to be worked on and nobody does.
pub(super) async fn is_left_alone(app: &App, job: &RunId) -> Result<bool, CliError> {
    Ok(!header(app, job).await?.status.is_stopped() && !is_worked_on(app).await?)
}

/// Whether some process that may work on jobs is alive.
pub(super) async fn is_worked_on(app: &App) -> Result<bool, CliError> {
    let sessions = app.store().other_sessions(&SessionId::generate()).await?;
    Ok(sessions
        .iter()
        .any(|(_, life)| matches!(life, Life::Leased(_))))
}

/// The job that a person means.
pub(super) async fn find(app: &App, id: &str) -> Result<RunId, CliError> {
    let found = if id == LAST {
        beginning(app, "", 1).await?
    } else {
        beginning(app, &written(id)?, CANDIDATES + 1).await?
    };
    match found.as_slice() {
        [] if id == LAST => Err(CliError::not_found("there are no jobs yet")),
        [] => Err(CliError::not_found(format!("there is no job {id}"))),
        [job] => Ok(job.clone()),
        jobs => Err(several(id, jobs)),
    }
}

/// What a person wrote of an id, without what all ids begin with. Nothing would be the beginning of any:
/// a variable of a script that is not set names no job.
fn written(id: &str) -> Result<String, CliError> {
    let written = id.strip_prefix(RunId::PREFIX).unwrap_or(id).to_lowercase();
    match written.is_empty() {
        true => Err(CliError::usage(format!(
            "{id:?} is the beginning of every job; write some of its id, or `{LAST}`"
        ))),
        false => Ok(written),
    }
}

/// That several jobs are meant.
fn several(id: &str, jobs: &[RunId]) -> CliError {
    let shown: Vec<&str> = jobs.iter().take(CANDIDATES).map(RunId::as_str).collect();
    let more = match jobs.len() > CANDIDATES {
        true => ", ...",
        false => "",
    };
    CliError::usage(format!(
        "several jobs begin with {id:?}: {}{more}; write more of the id",
        shown.join(", ")
    ))
}

/// The newest jobs whose id begins so, at most `limit`. Ids sort by time, and `~` sorts behind
/// everything that is in them: those that fit are the first below the prefix and `~`.
async fn beginning(app: &App, prefix: &str, limit: usize) -> Result<Vec<RunId>, CliError> {
    let prefix = format!("{}{prefix}", RunId::PREFIX);
    let filter = RunFilter {
        before: Some(RunId::from(format!("{prefix}~"))),
        limit,
        ..RunFilter::default()
    };
    let page = app.store().list_runs(&filter).await?;
    let ids = page.runs.into_iter().map(|run| run.id);
    Ok(ids.filter(|id| id.as_str().starts_with(&prefix)).collect())
}

/// The header of a job.
pub(super) async fn header(app: &App, job: &RunId) -> Result<Run, CliError> {
    let run = app.store().load_run(job).await?;
    run.ok_or_else(|| StoreError::NoRun(job.clone()).into())
}

/// What the document of a job is made of.
pub(super) async fn sources(app: &App, job: &RunId) -> Result<Sources, CliError> {
    Ok(app.job(job).await?)
}

/// The document of a job.
pub(super) async fn document(app: &App, job: &RunId) -> Result<JobDocument, CliError> {
    Ok(JobDocument::complete(&sources(app, job).await?))
}
