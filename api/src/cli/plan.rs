//! `telecine plan`: what retrying a job that stopped would do, changed before it is done.

mod bulk;
mod desk;
mod edits;
mod explain;
mod tree;

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::retry::plan::PlanState;
use telecine_engine::retry::world::Verification;
use telecine_engine::run::RunStatus;

use super::Session;
use super::exit::{CliError, Exit};
use super::output::{self, Format};
use crate::cli::again;
use crate::document::{RetryPlanDocument, json_name};
use desk::{Desk, Executed};
use edits::EditFlags;
use explain::Explained;
use tree::Look;

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Show what retrying a job would do, step by step, and why
    Show {
        #[command(flatten)]
        which: Which,
        /// Look at what the steps left in the store first, and plan anew if something is not as it was
        #[arg(long, value_enum, value_name = "HOW")]
        verify: Option<Verify>,
    },
    /// Make a new plan, with edits: a dry run, nothing is executed
    New {
        #[command(flatten)]
        of: Jobs,
        #[command(flatten)]
        edits: EditFlags,
        /// How closely to look at what the steps left in the store
        #[arg(long, value_enum, value_name = "HOW", default_value_t = Verify::Heads)]
        verify: Verify,
    },
    /// Say in sentences why a step would do what it would do
    Explain {
        /// The job: its id, the beginning of it, or `@last`
        job: String,
        /// `package`, `encode[3]`; what everything else follows from, unless given
        step: Option<String>,
    },
    /// Execute a plan: the job goes on in its next round
    Execute {
        #[command(flatten)]
        of: Jobs,
        /// The plan that is meant: its id
        #[arg(long, value_name = "PLAN", conflicts_with = "all")]
        plan: Option<String>,
        /// Only if this is still the digest of the plan
        #[arg(long, value_name = "DIGEST", conflicts_with = "all")]
        digest: Option<String>,
        /// Leave the work to other processes, also if there are none
        #[arg(long, conflicts_with = "all")]
        detach: bool,
        /// Of many jobs, how many may run at a time
        #[arg(long, value_name = "N", requires = "all", default_value_t = 4)]
        concurrency: u32,
    },
}

/// A plan of a job.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The job: its id, the beginning of it, or `@last`
    job: String,
    /// The id of an earlier plan; the current one unless given
    plan: Option<String>,
}

/// One job, or all that fit.
#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// The job: its id, the beginning of it, or `@last`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    job: Option<String>,
    #[command(flatten)]
    filter: bulk::FilterFlags,
}

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Verify {
    /// Whether each is there with its size and ETag; what was written since is read
    Heads,
    /// Every byte of each
    Full,
}

/// How jobs stopped, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StoppedStatus {
    Failed,
    Held,
    Cancelled,
}

impl From<StoppedStatus> for RunStatus {
    fn from(status: StoppedStatus) -> Self {
        match status {
            StoppedStatus::Failed => Self::Failed,
            StoppedStatus::Held => Self::Held,
            StoppedStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Verify> for Verification {
    fn from(verify: Verify) -> Self {
        match verify {
            Verify::Heads => Self::Heads,
            Verify::Full => Self::Full,
        }
    }
}

pub(super) async fn run(command: PlanCommand, session: &Session) -> Result<Exit, CliError> {
    let desk = Desk::open(session).await?;
    match command {
        PlanCommand::Show { which, verify } => show(&desk, which, verify, session).await,
        PlanCommand::New { of, edits, verify } => match of.job {
            None => bulk::plan(&desk, (&of.filter, &edits, verify), session).await,
            Some(job) => {
                let job = desk.find(&job).await?;
                let plan = match desk.plan(&job, &edits, verify.into()).await {
                    Ok(plan) => plan,
                    Err(error) => {
                        note_what_stays(&desk, &job, session).await;
                        return Err(error);
                    }
                };
                print(&plan, session)?;
                Ok(Exit::Success)
            }
        },
        PlanCommand::Explain { job, step } => explain(&desk, &job, step.as_deref(), session).await,
        PlanCommand::Execute {
            of,
            plan,
            digest,
            detach,
            concurrency,
        } => match of.job {
            None => bulk::execute(&desk, &of.filter, concurrency, session).await,
            Some(job) => {
                let job = desk.find(&job).await?;
                execute(
                    &desk,
                    &job,
                    Meant {
                        plan,
                        digest,
                        detach,
                    },
                    session,
                )
                .await
            }
        },
    }
}

/// Says that an earlier plan with edits is still the one that would be executed, where there is one.
async fn note_what_stays(desk: &Desk<'_>, job: &RunId, session: &Session) {
    let Ok(RetryPlanDocument { plan, .. }) = desk.current(job).await else {
        return;
    };
    if plan.state == PlanState::Proposed && !plan.edits.is_empty() {
        let (id, edits) = (&plan.id, plan.edits.len());
        session.console.note(&format!(
            "no new plan was made: the one of the job is still {id}, with its own edits ({edits})"
        ));
    }
}

async fn show(
    desk: &Desk<'_>,
    which: Which,
    verify: Option<Verify>,
    session: &Session,
) -> Result<Exit, CliError> {
    let job = desk.find(&which.job).await?;
    let plan = match (which.plan, verify) {
        (Some(plan), None) => desk.load(&job, &PlanId::from(plan)).await?,
        (Some(_), Some(_)) => {
            let why = "--verify makes a plan anew: leave out the id of the earlier one";
            return Err(CliError::usage(why));
        }
        (None, Some(verify)) => desk.verify(&job, verify.into()).await?,
        (None, None) => desk.current(&job).await?,
    };
    print(&plan, session)?;
    Ok(Exit::Success)
}

async fn explain(
    desk: &Desk<'_>,
    job: &str,
    step: Option<&str>,
    session: &Session,
) -> Result<Exit, CliError> {
    let job = desk.find(job).await?;
    let document = desk.current(&job).await?;
    let plan = &document.plan;
    let steps = match step {
        Some(step) => explain::find(plan, step)?,
        None => explain::causes(plan),
    };
    let mut explained = Vec::new();
    for step in steps {
        // Of a long list, those that are told.
        let key = match explained.len() < explain::STEPS_EXPLAINED {
            true => desk.explain(&job, &step.id).await?,
            false => None,
        };
        explained.push(Explained { step, key });
    }
    output::print_list(session.format, &explained, || {
        let mut text = explain::text(plan, &explained);
        for warning in &plan.warnings {
            let _ = write!(text, "\n{warning}");
        }
        text
    })?;
    Ok(Exit::Success)
}

/// The plan that a person has in mind.
#[derive(Debug)]
struct Meant {
    plan: Option<String>,
    digest: Option<String>,
    /// Whether others are to work on the job.
    detach: bool,
}

async fn execute(
    desk: &Desk<'_>,
    job: &RunId,
    meant: Meant,
    session: &Session,
) -> Result<Exit, CliError> {
    if let Some(digest) = &meant.digest {
        check_digest(digest)?;
    }
    let document = match meant.plan {
        Some(plan) => desk.load(job, &PlanId::from(plan)).await?,
        // What an interrupted command began is gone on with.
        None if desk.is_left_alone(job).await? => return desk.go_on(job, meant.detach).await,
        None => desk.current(job).await?,
    };
    let digest = meant.digest.as_ref().unwrap_or(&document.plan.digest);
    match desk.execute(job, &document.plan.id, digest).await? {
        Executed::Done(header) => {
            let note = format!("{job} goes on in round {}", header.round);
            session.console.note(&note);
            desk.go_on(job, meant.detach).await
        }
        Executed::Changed(now) => {
            print(&now, session)?;
            Err(CliError::failed(
                "the plan is not the one any more that was meant: this is what executing it would do now; \
                 nothing was done",
            ))
        }
    }
}

/// Refuses what cannot be the digest of any plan.
fn check_digest(text: &str) -> Result<(), CliError> {
    let hex = text.strip_prefix("sha256:");
    let hex = hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit()));
    hex.map(drop).ok_or_else(|| {
        CliError::usage(format!(
            "{text:?} is no digest; write `sha256:` and 64 hex digits, as `telecine plan show -o json` has it"
        ))
    })
}

/// Prints a plan.
fn print(document: &RetryPlanDocument, session: &Session) -> Result<(), CliError> {
    match session.format {
        Format::Table => output::print_drawn(&text(document, Look::of_stdout())),
        format => output::print_one(format, document, String::new),
    }
}

// Writing to a string cannot fail, so the results below are dropped.

fn text(document: &RetryPlanDocument, look: Look) -> String {
    let plan = &document.plan;
    let definition = plan.basis.definition.split(' ').next().unwrap_or_default();
    let state = json_name(&plan.state);
    let mut text = format!(
        "{} of {}, {state}\n{definition} after round {}\n\n",
        plan.id, plan.job, plan.basis.round
    );
    text.push_str(&tree::steps(&plan.steps, look));
    if let Some(changes) = &plan.changes {
        let _ = write!(text, "\n{}", tree::changes(changes));
    }
    if document.steps_total > plan.steps.len() {
        let _ = writeln!(text, "... {} steps in all", document.steps_total);
    }
    let _ = writeln!(text, "\n{}", tree::summary(plan));
    for warning in &plan.warnings {
        let _ = writeln!(text, "{}", tree::line(warning));
    }
    let end = match (plan.state, plan.executable) {
        (PlanState::Executed, _) => "this plan was executed".to_owned(),
        (PlanState::Superseded, _) => format!(
            "a later plan took the place of this one: `{}` shows it",
            again::other(&format!("plan show {}", plan.job))
        ),
        (PlanState::Proposed, true) => {
            let execute = again::other(&format!("plan execute {}", plan.job));
            format!("`{execute}` executes it")
        }
        (PlanState::Proposed, false) => "this plan cannot be executed as it is".to_owned(),
    };
    let _ = writeln!(text, "{end}");
    text
}
