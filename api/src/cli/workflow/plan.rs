//! `telecine workflow plan`: what `run` with the same words would do. Nothing is written.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use telecine_engine::coordinator::{Identity, identify};
use telecine_engine::definition::{Foreseen, StepPreview};
use telecine_engine::id::RunId;
use telecine_engine::retry::reuse::{Difference, Origin};
use telecine_engine::reuse::{Beginning, Foresight, Lookup};
use telecine_engine::run::RunStatus;

use crate::app::App;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{self, number};
use crate::cli::run::source::future_directory;
use crate::cli::run::{Request, missing_result};
use crate::cli::{Session, jobs};

/// Characters of a value in the text for people; JSON has all of them.
const VALUE_CHARS: usize = 100;

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    request: Request,
}

/// What a submission would be and do.
#[derive(Debug, Serialize)]
struct Plan {
    workflow: String,
    version: u32,
    digest: String,
    /// With defaults filled in.
    input: Value,
    fingerprint: String,
    then: Then,
    /// The job that an equal request made.
    job: Option<RunId>,
    job_status: Option<RunStatus>,
    steps: Vec<StepPreview>,
    /// What a new job would take of what others have made, as far as that can be told now.
    reuse: Vec<Foresight>,
}

/// What `run` would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Then {
    /// Begin a new job.
    Submit,
    /// Go on with a job that is not done.
    Resume,
    /// Execute the retry plan of a job that stopped short.
    Retry,
    /// Print a job that succeeded.
    Print,
    /// Make a new job, because results of the earlier one are gone.
    Repeat,
    /// Say why the job that stopped cannot go on.
    Explain,
}

pub(super) async fn run(arguments: PlanArgs, session: &Session) -> Result<Exit, CliError> {
    if session.config.remote.is_some() {
        return Err(CliError::usage(
            "workflow plan looks into a database itself and asks no server: name that of the server with \
             --database-url, or leave --server and TELECINE_SERVER out to look into this machine's",
        ));
    }
    let request = arguments.request;
    let submission = request.submission(session, future_directory)?;
    let identity = identify(session.config.objects.as_ref(), &submission).await?;
    let (then, earlier) = foresee(&identity, session).await?;
    let definition = &submission.definition;
    let begins = Beginning {
        definition,
        input: &identity.input,
        stores: &submission.stores,
    };
    let reuse = reused(begins, session).await?;
    let plan = Plan {
        workflow: definition.name.clone(),
        version: definition.version,
        digest: identity.definition,
        steps: definition.preview(&identity.input),
        reuse,
        input: identity.input,
        fingerprint: identity.fingerprint,
        then,
        job: earlier.as_ref().map(|earlier| earlier.0.clone()),
        job_status: earlier.map(|earlier| earlier.1),
    };
    output::print_one(session.format, &plan, || text(&plan))?;
    Ok(Exit::Success)
}

/// What an equal request before means for this one.
async fn foresee(
    identity: &Identity,
    session: &Session,
) -> Result<(Then, Option<(RunId, RunStatus)>), CliError> {
    let database = &session.config.database;
    if !App::is_there(database) {
        return Ok((Then::Submit, None));
    }
    let app = App::open(database, session.config.objects.clone()).await?;
    let Some(job) = app.store().find_run(&identity.fingerprint).await? else {
        return Ok((Then::Submit, None));
    };
    let run = jobs::header(&app, &job).await?;
    let then = match run.status {
        RunStatus::Queued | RunStatus::Running => Then::Resume,
        RunStatus::Succeeded if missing_result(&app, &run).await?.is_some() => Then::Repeat,
        RunStatus::Succeeded => Then::Print,
        RunStatus::Held | RunStatus::Failed | RunStatus::Cancelled => {
            let plan = app.store().load_plan(&job).await?;
            match plan.is_some_and(|plan| plan.executable) {
                true => Then::Retry,
                false => Then::Explain,
            }
        }
    };
    Ok((then, Some((job, run.status))))
}

/// What a new job would take of others.
async fn reused(begins: Beginning<'_>, session: &Session) -> Result<Vec<Foresight>, CliError> {
    let database = &session.config.database;
    if !App::is_there(database) {
        return Ok(Vec::new());
    }
    let app = App::open(database, session.config.objects.clone()).await?;
    let lookup = Lookup {
        store: app.store().clone(),
        objects: session.config.objects.clone(),
        registry: session.program.registry.clone(),
    };
    let foreseen = lookup.foresee(begins).await;
    foreseen.map_err(|error| CliError::failed(error.to_string()))
}

// Writing to a string cannot fail, so the results below are dropped.

fn text(plan: &Plan) -> String {
    let mut text = format!("{}@{}  {}\n", plan.workflow, plan.version, plan.digest);
    let _ = writeln!(text, "fingerprint {}", plan.fingerprint);
    let _ = writeln!(text, "{}", outlook(plan));
    if plan
        .input
        .as_object()
        .is_some_and(|input| !input.is_empty())
    {
        let _ = writeln!(text, "\ninput");
        members(&plan.input, &mut text);
    }
    let _ = write!(text, "\n{}", table(&plan.steps));
    if !plan.reuse.is_empty() {
        let _ = writeln!(text, "\nreuse by a new job");
        for foresight in &plan.reuse {
            let _ = writeln!(text, "  {}: {}", foresight.step, reuse_text(foresight));
        }
    }
    for step in &plan.steps {
        parameters(step, &mut text);
    }
    text
}

fn outlook(plan: &Plan) -> String {
    let job = plan.job.as_ref().map_or("", RunId::as_str);
    let status = plan.job_status.map_or("", RunStatus::as_str);
    match plan.then {
        Then::Submit => "`run` begins a new job: none has this fingerprint".to_owned(),
        Then::Resume => format!("`run` goes on with {job}, which is {status}"),
        Then::Retry => format!("`run` executes the retry plan of {job}, which is {status}"),
        Then::Print => format!("`run` prints {job}, which has succeeded"),
        Then::Repeat => format!("`run` makes a new job, because results of {job} are gone"),
        Then::Explain => {
            format!("`run` says why {job}, which is {status}, cannot go on; --new begins anew")
        }
    }
}

fn table(steps: &[StepPreview]) -> String {
    let mut table = output::table(&["level", "step", "activity", "after", "what is known"]);
    let mut by_level: Vec<_> = steps.iter().collect();
    by_level.sort_by_key(|step| step.level);
    for step in by_level {
        table.add_row([
            number(step.level),
            step.name.clone().into(),
            step.activity.clone().into(),
            step.needs.join(", ").into(),
            known(step).into(),
        ]);
    }
    output::lines(&table)
}

/// What is known of whether and how often a step runs.
fn known(step: &StepPreview) -> String {
    if let Some(reason) = &step.skipped {
        return format!("is skipped: {reason}");
    }
    let when = step.when.as_ref().and_then(|when| match when {
        Foreseen::Value(_) => None,
        open => Some(format!("runs if {}", open_text(open))),
    });
    let items = step.for_each.as_ref().map(|list| match list {
        Foreseen::Value(Value::Array(items)) => format!("{} items", items.len()),
        Foreseen::Value(other) => format!("fails: {} is no list", shortened(other)),
        open => format!("for each of {}", open_text(open)),
    });
    let fails = step
        .with_errors
        .iter()
        .map(|error| format!("fails: {error}"));
    let parts: Vec<String> = when.into_iter().chain(items).chain(fails).collect();
    match parts.as_slice() {
        [] => "runs".to_owned(),
        parts => parts.join("; "),
    }
}

fn reuse_text(foresight: &Foresight) -> String {
    if let Some(Origin { job, step }) = &foresight.from {
        return format!("takes {step} of {job}");
    }
    let value = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), shortened);
    match &foresight.differs {
        Some(Difference {
            path,
            before,
            after,
        }) => format!(
            "is made: {path} is {} and was {} in the latest job",
            value(after),
            value(before)
        ),
        None => "is made: no job has left the same".to_owned(),
    }
}

fn open_text(foreseen: &Foreseen) -> String {
    match foreseen {
        Foreseen::Value(value) => shortened(value),
        Foreseen::After { expression, steps } => {
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            format!("{expression} (known after {})", steps.join(", "))
        }
        Foreseen::Error(error) => format!("... fails: {error}"),
    }
}

fn parameters(step: &StepPreview, text: &mut String) {
    let given = step.with.as_object().is_some_and(|with| !with.is_empty());
    if !given || step.skipped.is_some() {
        return;
    }
    let after: Vec<&str> = step.with_after.iter().map(String::as_str).collect();
    let _ = match after.as_slice() {
        [] => writeln!(text, "\n{}", step.name),
        after => writeln!(
            text,
            "\n{} (complete after {})",
            step.name,
            after.join(", ")
        ),
    };
    members(&step.with, text);
}

fn members(value: &Value, text: &mut String) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let _ = writeln!(text, "  {name}: {}", shortened(value));
    }
}

/// A value on one line: texts as they are, so that expressions can be read.
fn shortened(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
