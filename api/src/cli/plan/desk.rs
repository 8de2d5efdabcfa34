//! Where plans are made: at the database, or at a server.

mod here;
mod there;

use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::retry::world::Verification;
use telecine_engine::reuse::Explanation;

use super::edits::EditFlags;
use crate::bulk;
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::cli::remote::Server;
use crate::document::{JobHeader, RetryPlanDocument};
use here::Here;
use there::There;

/// Where plans are made.
#[derive(Debug)]
pub(super) enum Desk<'a> {
    /// At the database.
    Here(Here<'a>),
    /// At a server.
    There(There<'a>),
}

/// What became of an execution.
#[derive(Debug)]
pub(super) enum Executed {
    /// The job goes on.
    Done(Box<JobHeader>),
    /// Nothing was done: the plan is this one now.
    Changed(Box<RetryPlanDocument>),
}

impl<'a> Desk<'a> {
    /// The desk that the settings name.
    pub(super) async fn open(session: &'a Session) -> Result<Self, CliError> {
        Ok(match Server::of(&session.config)? {
            Some(server) => Self::There(There { server, session }),
            None => Self::Here(Here::open(session).await?),
        })
    }

    /// The job that a person means.
    pub(super) async fn find(&self, id: &str) -> Result<RunId, CliError> {
        match self {
            Self::Here(here) => here.find(id).await,
            Self::There(there) => there.find(id).await,
        }
    }

    /// The current plan of a job.
    pub(super) async fn current(&self, job: &RunId) -> Result<RetryPlanDocument, CliError> {
        match self {
            Self::Here(here) => here.current(job).await,
            Self::There(there) => there.current(job).await,
        }
    }

    /// A plan of a job, also one that is no longer current.
    pub(super) async fn load(
        &self,
        job: &RunId,
        plan: &PlanId,
    ) -> Result<RetryPlanDocument, CliError> {
        match self {
            Self::Here(here) => here.load(job, plan).await,
            Self::There(there) => there.load(job, plan).await,
        }
    }

    /// Makes a plan with edits.
    pub(super) async fn plan(
        &self,
        job: &RunId,
        edits: &EditFlags,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        match self {
            Self::Here(here) => here.plan(job, &edits.edits()?, how).await,
            Self::There(there) => there.plan(job, &edits.read()?, how).await,
        }
    }

    /// Looks at the objects of the current plan, and answers the plan as it is then, with its edits.
    pub(super) async fn verify(
        &self,
        job: &RunId,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        match self {
            Self::Here(here) => here.verify(job, how).await,
            Self::There(there) => there.verify(job, how).await,
        }
    }

    /// What a step was made from and would be made from now.
    pub(super) async fn explain(
        &self,
        job: &RunId,
        step: &StepId,
    ) -> Result<Option<Explanation>, CliError> {
        match self {
            Self::Here(here) => here.explain(job, step).await,
            Self::There(there) => there.explain(job, step).await,
        }
    }

    /// Executes a plan if its digest is this one.
    pub(super) async fn execute(
        &self,
        job: &RunId,
        plan: &PlanId,
        digest: &str,
    ) -> Result<Executed, CliError> {
        match self {
            Self::Here(here) => here.execute(job, plan, digest).await,
            Self::There(there) => there.execute(job, plan, digest).await,
        }
    }

    /// Whether a job is to be worked on and nobody does: this process can.
    pub(super) async fn is_left_alone(&self, job: &RunId) -> Result<bool, CliError> {
        match self {
            Self::Here(here) => here.is_left_alone(job).await,
            Self::There(_) => Ok(false),
        }
    }

    /// What follows on an execution: this process works on the job if nobody else does.
    pub(super) async fn go_on(&self, job: &RunId, detach: bool) -> Result<Exit, CliError> {
        match self {
            Self::Here(here) => here.go_on(job, detach).await,
            Self::There(there) => there.go_on(job).await,
        }
    }

    /// Works on a job in this process until it stops; how a signal ended it, if one did.
    pub(super) async fn work_off(&self, job: &RunId) -> Result<Option<Exit>, CliError> {
        match self {
            Self::Here(here) => here.work_off(job).await,
            Self::There(_) => Ok(None),
        }
    }

    /// A page of plans of many jobs.
    pub(super) async fn plan_many(&self, request: &bulk::Request) -> Result<bulk::Page, CliError> {
        match self {
            Self::Here(here) => here.plan_many(request).await,
            Self::There(there) => there.plan_many(request).await,
        }
    }

    /// Executes plans of many jobs as far as not too many run then.
    pub(super) async fn execute_many(
        &self,
        wanted: &bulk::Execution,
    ) -> Result<bulk::Executed, CliError> {
        match self {
            Self::Here(here) => here.execute_many(wanted).await,
            Self::There(there) => there.execute_many(wanted).await,
        }
    }
}
