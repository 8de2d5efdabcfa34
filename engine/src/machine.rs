//! The rules of a run: what follows what. Pure: no I/O, no clock, no chance.
//!
//! The machine folds a [`View`], not the whole run: the run's header, its nodes with
//! counters, and the few steps that a command touches. A fan-out of 100,000 steps therefore
//! costs no more per step than a chain of three.
//!
//! One file per command. Each takes the view, changes it, and records what changed in
//! [`Changes`], which the store writes in one transaction. Commands that need the outputs of other
//! steps ([`Command::Ready`], [`Command::Finish`]) are follow-ups: the committer loads those
//! outputs and folds the follow-up in the same transaction.

mod adopt;
mod cancel;
mod claim;
mod complete;
mod edit;
mod fail;
mod finish;
pub(crate) mod reading;
mod ready;
mod reopen;
mod settle;
mod start;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::activity::Usage;
use crate::definition::Definition;
use crate::id::{SessionId, StepId};
use crate::retry::edits::Edit;
use crate::retry::plan::RetryPlan;
use crate::run::Failure;
use crate::store::{Outcome, StepSet};

pub use start::plan_run;
pub use view::{Changes, View};

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The run was accepted: open what needs nothing.
    Start,
    /// Everything that a node needs is settled: skip it, or make its steps ready.
    Ready {
        /// The node.
        node: String,
    },
    /// Every node is settled and none failed: render the run's output.
    Finish,
    /// A session takes a ready step.
    Claim {
        /// The step.
        step: StepId,
        /// Who takes it; live.
        session: SessionId,
    },
    /// An attempt succeeded.
    Complete {
        /// The step.
        step: StepId,
        /// The attempt's fence.
        fence: u64,
        /// What it brought.
        outcome: Outcome,
    },
    /// An attempt failed.
    Fail {
        /// The step.
        step: StepId,
        /// The attempt's fence.
        fence: u64,
        /// Why.
        error: Failure,
        /// What it used.
        usage: Usage,
        /// Things the user should know.
        warnings: Vec<String>,
    },
    /// A worker that shuts down gives a step back.
    Release {
        /// The step.
        step: StepId,
        /// The attempt's fence.
        fence: u64,
        /// What it used.
        usage: Usage,
    },
    /// The session that ran an attempt is dead.
    Lose {
        /// The step.
        step: StepId,
        /// The attempt's fence.
        fence: u64,
    },
    /// No worker can run a ready step: it waits for a person.
    Hold {
        /// The step.
        step: StepId,
        /// What no worker has.
        error: Failure,
    },
    /// A step's backoff is over.
    Wake {
        /// The step.
        step: StepId,
    },
    /// Somebody cancels the run.
    Cancel {
        /// Who, for people: `anna@studio cli`.
        by: String,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Somebody changes the retry plan of a run that stopped.
    Edit {
        /// All that the plan differs by from now on.
        edits: Vec<Edit>,
        /// Who, for people.
        by: String,
    },
    /// Execute a retry plan.
    Reopen {
        /// The plan, as it was shown.
        plan: Box<RetryPlan>,
    },
}

/// Which steps a command has to see.
#[must_use]
pub fn steps_needed(command: &Command) -> StepSet {
    match command {
        Command::Claim { step, .. }
        | Command::Complete { step, .. }
        | Command::Fail { step, .. }
        | Command::Release { step, .. }
        | Command::Lose { step, .. }
        | Command::Hold { step, .. }
        | Command::Wake { step } => StepSet::One(step.clone()),
        Command::Ready { node } => StepSet::One(StepId::single(node)),
        Command::Start | Command::Finish | Command::Edit { .. } => StepSet::Empty,
        Command::Cancel { .. } => StepSet::Unsettled,
        Command::Reopen { .. } => StepSet::All,
    }
}

/// What else a command is decided on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The database's now.
    pub now: DateTime<Utc>,
    /// Outputs of the nodes that the command's expressions name.
    pub outputs: BTreeMap<String, Value>,
    /// What a plan that is executed gives the run instead of its definition.
    pub definition: Option<Arc<Definition>>,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The attempt no longer owns the step: a newer claim, a cancel, or it has ended already.
    #[error("the attempt no longer owns the step")]
    Fenced,
    /// The run's or step's state does not allow it.
    #[error("{0}")]
    Conflict(String),
}

/// Folds one command into a view.
///
/// # Errors
/// [`Rejected`]; the view is then unchanged if the command was refused for what it says, and not to
/// be used any more if the run and its definition contradict each other.
pub fn decide(view: &mut View, command: &Command, facts: &Facts) -> Result<(), Rejected> {
    match command {
        Command::Start => start::start(view, facts),
        Command::Ready { node } => ready::ready(view, node, facts),
        Command::Finish => finish::finish(view, facts),
        Command::Claim { step, session } => claim::claim(view, (step, session), facts),
        Command::Complete {
            step,
            fence,
            outcome,
        } => complete::complete(view, (step, *fence), outcome, facts),
        Command::Fail {
            step,
            fence,
            error,
            usage,
            warnings,
        } => {
            view.owned(step, *fence)?;
            fail::note_warnings(view, step, warnings);
            fail::fail(view, (step, *fence), (error, *usage), facts)
        }
        Command::Release { step, fence, usage } => {
            fail::release(view, (step, *fence), *usage, facts)
        }
        Command::Lose { step, fence } => fail::lose(view, (step, *fence), facts),
        Command::Hold { step, error } => fail::hold_ready(view, step, error, facts),
        Command::Wake { step } => fail::wake(view, step),
        Command::Cancel { by, reason } => cancel::cancel(view, (by, reason.as_deref()), facts),
        Command::Edit { edits, by } => edit::edit(view, edits, by),
        Command::Reopen { plan } => reopen::reopen(view, plan, facts),
    }?;
    settle::settle_run(view, facts);
    Ok(())
}

/// Names of the nodes whose outputs a command's expressions read.
#[must_use]
pub fn outputs_needed(view: &View, command: &Command) -> Vec<String> {
    match command {
        Command::Ready { node } => ready::references(view, node),
        Command::Finish => finish::references(view),
        Command::Reopen { plan } => reopen::references(view, plan),
        _ => Vec::new(),
    }
}
