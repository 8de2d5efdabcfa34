//! `telecine run`: one job, in this process, to its end.

pub(super) mod input;
mod remote;
pub(super) mod source;
mod work;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Map, Value};
use telecine_activities::keys::is_published;
use telecine_engine::coordinator::{PlanError, Submission, SubmitError};
use telecine_engine::id::RunId;
use telecine_engine::limits;
use telecine_engine::queue::Queue;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Run, RunStatus, StoreUrls};
use telecine_engine::worker::Neighbours;

use super::Session;
use super::exit::{CliError, Exit};
use super::output::Format;
use super::remote::Server;
use super::{jobs, stores, summary, workflow};
use crate::app::App;
use crate::cli::again;
use crate::document::{ErrorDocument, PlanDocument};
use work::Ended;

/// What to do when this process cannot go on.
const RESUMES: &str = "nothing that was finished is lost, and the same command resumes the job \
                       once the cause is gone";

/// What is to be run on what.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// A workflow of this program (`workflow list` names them), or a YAML file
    workflow: String,
    /// The file to work on; a key, if sources are in a store (`source_url`); `s3://BUCKET/KEY`
    source: Option<PathBuf>,
    /// Set a member of the input, as JSON or as text: `preview.width=320`
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Read the input from a JSON file, or from `-`
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where its steps wait: `critical`, `default`, `video:large` [default: by the source's size]
    #[arg(long, value_name = "QUEUE", value_parser = queue)]
    queue: Option<Queue>,
    /// Which of its queue go first: -1000 to 1000, higher first
    #[arg(
        long, value_name = "N", default_value_t = 0, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(priorities())
    )]
    priority: i32,
    /// Directory or store for results: `DIR`, `s3://BUCKET/PREFIX` [default: `media_url`, else `out`]
    #[arg(long, value_name = "DIR|URL")]
    out: Option<PathBuf>,
    /// Make everything anew: take nothing that another job has made, and leave nothing for others
    #[arg(long)]
    no_cache: bool,
}

fn queue(name: &str) -> Result<Queue, String> {
    let names = Queue::ALL.map(Queue::as_str).join("`, `");
    Queue::parse(name).ok_or_else(|| format!("there is no such queue; these are: `{names}`"))
}

fn priorities() -> RangeInclusive<i64> {
    -i64::from(limits::PRIORITY)..=i64::from(limits::PRIORITY)
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    request: Request,
    /// Make a new job even if an equal one was run before
    #[arg(long)]
    new: bool,
}

pub(super) async fn run(arguments: RunArgs, session: &Session) -> Result<Exit, CliError> {
    if let Some(server) = Server::of(&session.config)? {
        return remote::submit(arguments, &server, session).await;
    }
    let request = arguments.request;
    let submission = Submission {
        force: arguments.new,
        ..request.submission(session, source::writable_directory)?
    };
    let app = open(session, &submission.stores).await?;
    let exit = async {
        match job(&app, submission, session).await? {
            (job, true) => conclude(&app, &job, session).await,
            (job, false) => work_on(&app, &job, session).await,
        }
    };
    exit.await
        .map_err(|error: CliError| error.or_advise(RESUMES))
}

/// Works on a job that can go on, to its end, and prints it.
pub(super) async fn go_on(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    check_places(app, job, session).await?;
    let worked = work_on(app, job, session).await;
    worked.map_err(|error| error.or_advise(RESUMES))
}

/// The same without a word about how it ended, unless a signal ended it.
pub(super) async fn work_off(
    app: &App,
    job: &RunId,
    session: &Session,
) -> Result<Option<Exit>, CliError> {
    check_places(app, job, session).await?;
    Ok(match work::until_stopped(app, job, session).await? {
        Ended::Stopped => None,
        Ended::Interrupted(exit) => Some(exit),
    })
}

/// Whether a job can be worked on here.
async fn check_places(app: &App, job: &RunId, session: &Session) -> Result<(), CliError> {
    let run = jobs::header(app, job).await?;
    let checked = stores::check(session.config.objects.as_ref(), &run.stores).await;
    checked.map_err(SubmitError::from)?;
    source::writable_directory(&session.config.scratch_dir)?;
    Ok(())
}

async fn work_on(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let began = Utc::now();
    let mut ended = work::until_stopped(app, job, session).await?;
    if stopped_by_the_past(app, job, began).await?
        && let Revived::Working = retry(app, job, session).await?
    {
        ended = work::until_stopped(app, job, session).await?;
    }
    if let Ended::Interrupted(exit) = ended {
        return interrupted(app, job, exit, session).await;
    }
    // What the job stands on is looked at once more, so that the plan shown is a proven one.
    app.coordinator.verify_plan(job).await?;
    conclude(app, job, session).await
}

/// Opens what the job is kept in. Whatever is wrong is found before anything is done.
async fn open(session: &Session, urls: &StoreUrls) -> Result<App, CliError> {
    let objects = session.config.objects.clone();
    let checked = stores::check(objects.as_ref(), urls).await;
    checked.map_err(SubmitError::from)?;
    let app = App::open(&session.config.database, objects)
        .await
        .map_err(CliError::set_up)?
        .with_activities(session.program.registry.clone());
    source::writable_directory(&session.config.scratch_dir)?;
    Ok(app)
}

/// The job to work on, and whether there is nothing left to do.
async fn job(
    app: &App,
    submission: Submission,
    session: &Session,
) -> Result<(RunId, bool), CliError> {
    app.sweep().await?;
    // Also if the job turns out to be done: whoever was killed right after its last step left something.
    let committer = app.coordinator.committer.clone();
    Neighbours::of(&session.config.scratch_dir, committer)
        .bury()
        .await;
    let submitted = app.coordinator.submit(submission.clone()).await?;
    if submitted.existing {
        match revive(app, &submitted.run, session).await? {
            Revived::Working => return Ok((submitted.run, false)),
            Revived::Over => return Ok((submitted.run, true)),
            Revived::Gone => {}
        }
    } else {
        session
            .console
            .note(&format!("{} is submitted", submitted.run));
        return Ok((submitted.run, false));
    }
    let again = Submission {
        force: true,
        ..submission
    };
    Ok((app.coordinator.submit(again).await?.run, false))
}

impl Request {
    /// What would be submitted. Everything that can be wrong is found here, before anything is
    /// written; `directory` finds the directory for results when the rest is right.
    pub(super) fn submission(
        &self,
        session: &Session,
        directory: impl FnOnce(&Path) -> Result<PathBuf, CliError>,
    ) -> Result<Submission, CliError> {
        let mut definition = workflow::find(&self.workflow, &session.program)?;
        if self.no_cache {
            definition = definition.without_cache();
        }
        let mut input = input::read(self.input.as_deref(), &self.set)?;
        let store = session.config.source_url.as_deref();
        let source = name_source(self.source.as_deref(), &mut input, store)?;
        let needs_source = !input.contains_key("source");
        definition
            .check_input(Value::Object(input.clone()))
            .map_err(|errors| match errors.as_slice() {
                [only] if needs_source && only.pointer == "/source" => CliError::usage(format!(
                    "{} needs a source: name a file behind it, as in `run {} FILE`",
                    self.workflow, self.workflow
                )),
                _ => CliError::from(SubmitError::BadInput(errors)),
            })?;
        let media = source::media_url(self.out.as_deref(), &session.config, directory)?;
        Ok(Submission {
            definition: Arc::new(definition),
            input: Value::Object(input),
            stores: StoreUrls {
                source: source.unwrap_or_else(|| media.clone()),
                media,
            },
            queue: self.queue,
            priority: self.priority,
            labels: BTreeMap::new(),
            force: false,
        })
    }
}

/// Names the source in the input and answers the address of its store. The input may name it too, like
/// the argument.
fn name_source(
    named: Option<&Path>,
    input: &mut Map<String, Value>,
    store: Option<&str>,
) -> Result<Option<String>, CliError> {
    let in_input = input
        .get("source")
        .and_then(Value::as_str)
        .map(PathBuf::from);
    let path = match (named, in_input) {
        (Some(_), Some(_)) => {
            return Err(CliError::usage(
                "the source is named twice: as an argument and in the input",
            ));
        }
        (Some(path), None) => path.to_owned(),
        (None, Some(path)) => path,
        (None, None) => return Ok(None),
    };
    let found = source::Source::find(&path, store)?;
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

/// The key of something that a finished job made and that is gone or has another size: an artifact, or a
/// published object that its output names.
pub(super) async fn missing_result(app: &App, run: &Run) -> Result<Option<String>, CliError> {
    if let Some(key) = app.coordinator.missing_artifact(&run.id).await? {
        return Ok(Some(key));
    }
    let media = app
        .coordinator
        .objects
        .open(&run.stores.media)
        .map_err(SubmitError::from)?;
    for key in run.output.iter().flat_map(published) {
        if media.head(key).await.map_err(SubmitError::from)?.is_none() {
            return Ok(Some(key.to_owned()));
        }
    }
    Ok(None)
}

/// The published objects that a value names, at any depth.
fn published(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if is_published(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(published).collect(),
        Value::Object(members) => members.values().flat_map(published).collect(),
        _ => Vec::new(),
    }
}

/// Whether a job failed of nothing but what happened to an earlier process, which had no room in
/// the database to stop the job. Whoever gives the command again has dealt with that.
async fn stopped_by_the_past(
    app: &App,
    job: &RunId,
    began: DateTime<Utc>,
) -> Result<bool, CliError> {
    let snapshot = app.store().snapshot(job).await?;
    let last = snapshot
        .steps
        .iter()
        .filter(|step| step.step.error.is_some());
    let mut ends = last
        .filter_map(|step| step.attempts.last()?.ended_at)
        .peekable();
    let stopped = snapshot.run.status == RunStatus::Failed && ends.peek().is_some();
    Ok(stopped && ends.all(|ended_at| ended_at < began))
}

async fn retry(app: &App, job: &RunId, session: &Session) -> Result<Revived, CliError> {
    let plan = app.coordinator.verify_plan(job).await?;
    let Some(plan) = plan.filter(|plan| plan.executable) else {
        return Ok(Revived::Over);
    };
    let announcement = announcement(&plan);
    let by = jobs::cancel::who();
    let executed = app.coordinator.execute(job, &plan.seen(), &by).await;
    match executed {
        Ok(_) => session.console.note(&announcement),
        // Another process was quicker: its round is joined.
        Err(PlanError::Executed(_) | PlanError::NotStopped { .. }) => {
            session.console.note(&format!("{job} goes on"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Revived::Working)
}

fn announcement(plan: &RetryPlan) -> String {
    let counts = &plan.summary;
    let mut steps = plan.steps.iter().filter(|step| step.runs());
    let stopped = steps.find_map(|step| {
        let error = step.error.as_ref()?;
        Some(format!(
            " (it stopped in {}: {}, {})",
            step.id, error.message, error.code
        ))
    });
    format!(
        "{} is tried again: {} steps kept, {} resumed, {} run again{}",
        plan.job,
        counts.reuse,
        counts.resume,
        counts.rerun,
        stopped.unwrap_or_default()
    )
}

/// Says how the job goes on that this process no longer works on. Who asked for a document gets one.
async fn interrupted(
    app: &App,
    job: &RunId,
    exit: Exit,
    session: &Session,
) -> Result<Exit, CliError> {
    if session.format != Format::Table {
        let document = jobs::document(app, job).await?.abridged();
        summary::print(session.format, &document)?;
    }
    session.console.note(&format!(
        "stopped; {job} goes on when the same command is given again"
    ));
    Ok(exit)
}

/// Prints a job that has ended and answers the exit code.
async fn conclude(app: &App, job: &RunId, session: &Session) -> Result<Exit, CliError> {
    let document = jobs::document(app, job).await?.abridged();
    summary::print(session.format, &document)?;
    let executable = |plan: &PlanDocument| plan.executable;
    // With another source, the same command begins another job.
    let other_source = |error: &ErrorDocument| error.code == "source_changed";
    if document.retry_plan.as_ref().is_some_and(executable)
        && !document.error.as_ref().is_some_and(other_source)
    {
        let command = again::same();
        session.console.note(&format!("to try again: {command}"));
    }
    Ok(Exit::of_job(document.status))
}
