//! `telecine run`: one job, in this process, to its end.

mod input;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value};
use telecine_engine::activity::Registry;
use telecine_engine::coordinator::{Submission, SubmitError};
use telecine_engine::id::RunId;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Run, RunStatus, StoreUrls};
use telecine_engine::worker::WorkerError;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::activity::installed;
use super::exit::{CliError, Exit};
use super::follow::Follower;
use super::interrupt::Interrupts;
use super::{jobs, summary, workflow};
use crate::app::App;

/// What to do once the cause of a failure of this process is gone.
const RESUMES: &str = "the same command resumes the job once the cause is gone";

/// What keys of published objects begin with.
const PUBLISHED: &str = "videos/";

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A built-in workflow (`telecine workflow list`), or a YAML file
    workflow: String,
    /// The file to work on
    source: Option<PathBuf>,
    /// Set a member of the input, as JSON or as text: `preview.width=320`
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Read the input from a JSON file, or from `-`
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Directory for results
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Make a new job even if an equal one was run before
    #[arg(long)]
    new: bool,
}

pub(super) async fn run(arguments: RunArgs, session: &Session) -> Result<Exit, CliError> {
    let registry = Arc::new(installed()?);
    let submission = prepare(&arguments, &registry)?;
    let app = App::open(&session.config.data_dir)
        .await
        .map_err(CliError::set_up)?;
    source::writable_directory(&session.config.scratch_dir)?;
    app.sweep().await?;
    let submitted = app.coordinator.submit(submission.clone()).await?;
    let job = if submitted.existing {
        match revive(&app, &submitted.run, session).await? {
            Revived::Working => submitted.run,
            Revived::Over => return conclude(&app, &submitted.run, session).await,
            Revived::Gone => {
                let again = Submission {
                    force: true,
                    ..submission
                };
                app.coordinator.submit(again).await?.run
            }
        }
    } else {
        submitted.run
    };
    work(&app, &registry, &job, session).await
}

/// Everything that can be wrong is found here, before anything is written.
fn prepare(arguments: &RunArgs, registry: &Registry) -> Result<Submission, CliError> {
    let definition = workflow::find(&arguments.workflow, registry)?;
    let mut input = input::read(arguments.input.as_deref(), &arguments.set)?;
    let source = name_source(arguments, &mut input)?;
    definition
        .check_input(Value::Object(input.clone()))
        .map_err(|errors| CliError::from(SubmitError::BadInput(errors)))?;
    let out = source::writable_directory(&arguments.out)?;
    let media = source::file_url(&out);
    Ok(Submission {
        definition: Arc::new(definition),
        input: Value::Object(input),
        stores: StoreUrls {
            source: source.unwrap_or_else(|| media.clone()),
            media,
        },
        labels: BTreeMap::new(),
        force: arguments.new,
    })
}

/// Names the source file in the input and answers the address of its directory.
fn name_source(
    arguments: &RunArgs,
    input: &mut Map<String, Value>,
) -> Result<Option<String>, CliError> {
    let Some(path) = &arguments.source else {
        return Ok(None);
    };
    if input.contains_key("source") {
        return Err(CliError::usage(
            "the source is named twice: as an argument and in the input",
        ));
    }
    let found = source::Source::find(path)?;
    input.insert("source".to_owned(), Value::from(found.key));
    Ok(Some(found.store))
}

/// What became of a job that an equal command made before.
enum Revived {
    /// It can go on.
    Working,
    /// It has ended, and trying again would change nothing.
    Over,
    /// It succeeded, but what it made is no longer there.
    Gone,
}

async fn revive(app: &App, job: &RunId, session: &Session) -> Result<Revived, CliError> {
    let run = jobs::header(app, job).await?;
    match run.status {
        RunStatus::Queued | RunStatus::Running => {
            session.console.note(&format!("{job} goes on"));
            Ok(Revived::Working)
        }
        RunStatus::Succeeded => match missing_result(app, &run).await? {
            None => Ok(Revived::Over),
            Some(key) => {
                session.console.note(&format!(
                    "{job} made {key}, which is gone: running it again"
                ));
                Ok(Revived::Gone)
            }
        },
        RunStatus::Held | RunStatus::Failed | RunStatus::Cancelled => {
            retry(app, job, session).await
        }
    }
}

/// The key of something that a finished job made and that is no longer there as it was: an
/// artifact, or a published object that its output names.
async fn missing_result(app: &App, run: &Run) -> Result<Option<String>, CliError> {
    if let Some(key) = app.coordinator.missing_artifact(&run.id).await? {
        return Ok(Some(key));
    }
    let media = app
        .coordinator
        .objects
        .open(&run.stores.media)
        .map_err(SubmitError::from)?;
    let named = run
        .output
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values);
    for key in named
        .filter_map(Value::as_str)
        .filter(|text| text.starts_with(PUBLISHED))
    {
        if media.head(key).await.map_err(SubmitError::from)?.is_none() {
            return Ok(Some(key.to_owned()));
        }
    }
    Ok(None)
}

async fn retry(app: &App, job: &RunId, session: &Session) -> Result<Revived, CliError> {
    let plan = app
        .coordinator
        .verify_plan(job)
        .await?
        .filter(|plan| plan.executable);
    let Some(plan) = plan else {
        return Ok(Revived::Over);
    };
    session.console.note(&announcement(&plan));
    app.coordinator.execute(plan).await?;
    Ok(Revived::Working)
}

fn announcement(plan: &RetryPlan) -> String {
    let counts = &plan.summary;
    format!(
        "{} is tried again: {} steps kept, {} resumed, {} run again",
        plan.job, counts.reuse, counts.resume, counts.rerun
    )
}

/// Works on a job until it stops, or this process is told to.
async fn work(
    app: &App,
    registry: &Arc<Registry>,
    job: &RunId,
    session: &Session,
) -> Result<Exit, CliError> {
    let mut interrupts = Interrupts::listen()?;
    let worker = app
        .open_worker(&session.config, registry, job)
        .await
        .map_err(explain)?;
    let _services = app.start_services(worker.session());
    let stop = CancellationToken::new();
    let mut working = tokio::spawn(worker.run(stop.clone()));
    let mut follower = Follower::new(app, job, session);
    let interrupted = tokio::select! {
        followed = follower.until_stopped() => followed.map(|()| None)?,
        signal = interrupts.next() => Some(signal),
        ended = &mut working => return Err(ended_early(ended)),
    };
    stop.cancel();
    if let Some(exit) = interrupted {
        session.console.note(
            "stopping: steps end at their next checkpoint, a second signal stops them at once",
        );
        tokio::select! {
            _ = &mut working => {}
            _ = interrupts.next() => {}
        }
        session
            .console
            .note("stopped; the same command resumes the job");
        return Ok(exit);
    }
    follower.finish();
    working
        .await
        .map_err(|e| CliError::failed(e.to_string()))?
        .map_err(explain)?;
    // What the job stands on is looked at once more, so that the plan shown is a proven one.
    app.coordinator.verify_plan(job).await?;
    conclude(app, job, session).await
}

fn ended_early(ended: Result<Result<(), WorkerError>, tokio::task::JoinError>) -> CliError {
    match ended {
        Ok(Ok(())) => CliError::failed("the worker stopped"),
        Ok(Err(error)) => explain(error),
        Err(error) => CliError::failed(error.to_string()),
    }
}

fn explain(error: WorkerError) -> CliError {
    CliError::failed(error.to_string()).with_advice(RESUMES)
}

/// Prints a job that has ended and answers the exit code.
async fn conclude(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let document = jobs::document(app, job).await?;
    summary::print(session.format, &document)?;
    Ok(Exit::of_job(document.status))
}
