//! `telecine jobs`: what the data directory knows of jobs.

use clap::{Subcommand, ValueEnum};
use telecine_engine::id::RunId;
use telecine_engine::run::{Run, RunStatus};
use telecine_engine::store::{RunFilter, StoreError};

use super::Session;
use super::exit::{CliError, Exit};
use super::follow::Follower;
use super::output;
use super::summary;
use crate::app::App;
use crate::document::{JobDocument, JobHeader, Sources};

/// Jobs among which a prefix is looked for.
const SEARCHED: usize = 10_000;
/// Ids that are named when a prefix fits several.
const CANDIDATES: usize = 5;

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
        #[arg(long, default_value_t = 20, value_name = "N")]
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

pub(super) async fn run(command: JobsCommand, session: &Session) -> Result<Exit, CliError> {
    let data_dir = &session.config.data_dir;
    if !App::is_there(data_dir) {
        return Err(CliError::not_found(format!(
            "there are no jobs in {}; `telecine run` makes them, --data-dir names another place",
            data_dir.display()
        )));
    }
    let app = App::open(data_dir).await?;
    match command {
        JobsCommand::List {
            status,
            workflow,
            limit,
        } => {
            let status = status.map(RunStatus::from);
            list(
                &app,
                RunFilter {
                    status,
                    workflow,
                    before: None,
                    limit,
                },
                session,
            )
            .await
        }
        JobsCommand::Get { id, all } => {
            let document = document(&app, &find(&app, &id).await?).await?;
            let document = if all { document } else { document.abridged() };
            summary::print(session.format, &document)?;
            Ok(Exit::Success)
        }
        JobsCommand::Watch { id } => watch(&app, &find(&app, &id).await?, session).await,
    }
}

async fn list(app: &App, filter: RunFilter, session: &Session) -> Result<Exit, CliError> {
    let runs = app.store().list_runs(&filter).await?;
    let headers: Vec<JobHeader> = runs.iter().map(JobHeader::from).collect();
    output::print_list(session.format, &headers, || {
        let mut table = output::table(&["job", "type", "status", "source", "created"]);
        for job in &headers {
            table.add_row([
                job.id.to_string(),
                job.r#type.clone(),
                job.status.to_string(),
                job.source.clone().unwrap_or_default(),
                job.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        output::lines(&table)
    })?;
    Ok(Exit::Success)
}

async fn watch(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let mut follower = Follower::new(app, job, session);
    follower.until_stopped().await?;
    follower.finish();
    let document = document(app, job).await?;
    summary::print(session.format, &document.clone().abridged())?;
    Ok(Exit::of_job(document.status))
}

/// The job that a person means.
async fn find(app: &App, id: &str) -> Result<RunId, CliError> {
    let filter = RunFilter {
        limit: SEARCHED,
        ..RunFilter::default()
    };
    let runs = app.store().list_runs(&filter).await?;
    if id == "@last" {
        let last = runs.first().map(|run| run.id.clone());
        return last.ok_or_else(|| CliError::not_found("there are no jobs yet"));
    }
    let prefix = id.strip_prefix(RunId::PREFIX).unwrap_or(id);
    let fits = |run: &&Run| {
        let name = run.id.as_str();
        !prefix.is_empty()
            && name
                .strip_prefix(RunId::PREFIX)
                .unwrap_or(name)
                .starts_with(prefix)
    };
    let found: Vec<&Run> = runs.iter().filter(fits).collect();
    match found.as_slice() {
        [] => Err(CliError::not_found(format!("there is no job {id}"))),
        [run] => Ok(run.id.clone()),
        several => {
            let names: Vec<&str> = several
                .iter()
                .take(CANDIDATES)
                .map(|run| run.id.as_str())
                .collect();
            Err(CliError::usage(format!(
                "{} jobs begin with {id}: {}, ...; write more of it",
                several.len(),
                names.join(", ")
            )))
        }
    }
}

/// The header of a job.
pub(super) async fn header(app: &App, job: &RunId) -> Result<Run, CliError> {
    let run = app.store().load_run(job).await?;
    run.ok_or_else(|| StoreError::NoRun(job.clone()).into())
}

/// What the document of a job is made of.
pub(super) async fn sources(app: &App, job: &RunId) -> Result<Sources, CliError> {
    let snapshot = app.store().snapshot(job).await?;
    let definition = app
        .coordinator
        .definitions
        .get(&snapshot.run.definition)
        .await?;
    let plan = app.store().load_plan(job).await?;
    Ok(Sources {
        snapshot,
        definition,
        plan,
        now: chrono::Utc::now(),
    })
}

/// The document of a job.
pub(super) async fn document(app: &App, job: &RunId) -> Result<JobDocument, CliError> {
    Ok(JobDocument::complete(&sources(app, job).await?))
}
