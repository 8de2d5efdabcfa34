//! Plans at the database.

use std::path::Path;
use std::sync::Arc;

use telecine_engine::coordinator::PlanError;
use telecine_engine::definition::Definition;
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::{PlanState, Seen};
use telecine_engine::retry::world::Verification;
use telecine_engine::reuse::{Explanation, Lookup, LookupError};

use super::Executed;
use crate::app::App;
use crate::bulk;
use crate::cli::Session;
use crate::cli::again;
use crate::cli::exit::{CliError, Exit};
use crate::cli::jobs::{self, cancel};
use crate::cli::{run, workflow};
use crate::cursor::Cursor;
use crate::document::{JobHeader, RetryPlanDocument};

/// Plans at the database.
#[derive(Debug)]
pub(in crate::cli::plan) struct Here<'a> {
    app: App,
    session: &'a Session,
}

impl<'a> Here<'a> {
    pub(super) async fn open(session: &'a Session) -> Result<Self, CliError> {
        let database = &session.config.database;
        if !App::is_there(database) {
            return Err(CliError::not_found(format!(
                "there are no jobs in {database}"
            )));
        }
        let app = App::open(database, session.config.objects.clone())
            .await?
            .with_activities(session.program.registry.clone());
        Ok(Self { app, session })
    }

    pub(super) async fn find(&self, id: &str) -> Result<RunId, CliError> {
        jobs::find(&self.app, id).await
    }

    pub(super) async fn current(&self, job: &RunId) -> Result<RetryPlanDocument, CliError> {
        let plan = self.app.store().load_plan(job).await?;
        match plan.filter(|plan| plan.state == PlanState::Proposed) {
            Some(plan) => Ok(RetryPlanDocument::complete(plan)),
            None => {
                let status = jobs::header(&self.app, job).await?.status;
                let run = job.clone();
                Err(self.told(PlanError::NotStopped { run, status }).await)
            }
        }
    }

    pub(super) async fn load(
        &self,
        job: &RunId,
        plan: &PlanId,
    ) -> Result<RetryPlanDocument, CliError> {
        let plan = self.app.coordinator.load_plan(job, plan).await?;
        Ok(RetryPlanDocument::complete(plan))
    }

    pub(super) async fn plan(
        &self,
        job: &RunId,
        edits: &Edits,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        let by = cancel::who();
        let edits = self.found(edits).await?;
        match self.app.coordinator.plan(job, (&edits, &by), how).await {
            Ok(plan) => Ok(RetryPlanDocument::complete(plan)),
            Err(error) => Err(self.told(error).await),
        }
    }

    /// Edits with the definition that they name by its digest: one of the program, or of a file, which the
    /// database has then.
    async fn found(&self, edits: &Edits) -> Result<Edits, CliError> {
        let digest = match &edits.definition {
            Some(named) if !named.starts_with("sha256:") => {
                let found = Arc::new(named_definition(named, self.session)?);
                Some(self.app.coordinator.definitions.save(&found).await?)
            }
            other => other.clone(),
        };
        Ok(Edits {
            definition: digest,
            ..edits.clone()
        })
    }

    pub(super) async fn verify(
        &self,
        job: &RunId,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        match self.app.coordinator.verify(job, how).await {
            Ok(plan) => Ok(RetryPlanDocument::complete(plan)),
            Err(error) => Err(self.told(error).await),
        }
    }

    pub(super) async fn explain(
        &self,
        job: &RunId,
        step: &StepId,
    ) -> Result<Option<Explanation>, CliError> {
        let lookup = Lookup {
            store: self.app.store().clone(),
            objects: self.session.config.objects.clone(),
            registry: self.session.program.registry.clone(),
        };
        match lookup.explain(job, step).await {
            Ok(explanation) => Ok(Some(explanation)),
            // A list that is not read yet, or a step that only another definition has.
            Err(LookupError::NoStep(_)) => Ok(None),
            Err(error) => Err(CliError::failed(error.to_string())),
        }
    }

    pub(super) async fn execute(
        &self,
        job: &RunId,
        plan: &PlanId,
        digest: &str,
    ) -> Result<Executed, CliError> {
        let seen = Seen {
            id: plan.clone(),
            digest: digest.to_owned(),
        };
        match self
            .app
            .coordinator
            .execute(job, &seen, &cancel::who())
            .await
        {
            Ok(_) => {
                let header = JobHeader::from(&jobs::header(&self.app, job).await?);
                Ok(Executed::Done(Box::new(header)))
            }
            Err(PlanError::Stale(now) | PlanError::Superseded(now)) => Ok(Executed::Changed(
                Box::new(RetryPlanDocument::complete(*now)),
            )),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn is_left_alone(&self, job: &RunId) -> Result<bool, CliError> {
        jobs::is_left_alone(&self.app, job).await
    }

    /// The error for a person: of a job that nobody works on it says who goes on with it.
    async fn told(&self, error: PlanError) -> CliError {
        let alone = match &error {
            PlanError::NotStopped { run, .. } => self.is_left_alone(run).await.unwrap_or(false),
            _ => false,
        };
        match alone {
            true => CliError::from(error).or_advise(jobs::LEFT_ALONE),
            false => error.into(),
        }
    }

    /// Works on the job as `run` does, unless somebody else does or is to.
    pub(super) async fn go_on(&self, job: &RunId, detach: bool) -> Result<Exit, CliError> {
        if !detach && !jobs::is_worked_on(&self.app).await? {
            return run::go_on(&self.app, job, self.session).await;
        }
        let note = format!(
            "a worker goes on with it; `{}` follows it",
            again::other(&format!("jobs watch {job}"))
        );
        self.session.console.note(&note);
        let header = JobHeader::from(&jobs::header(&self.app, job).await?);
        cancel::print(&header, self.session)
    }

    pub(super) async fn work_off(&self, job: &RunId) -> Result<Option<Exit>, CliError> {
        run::work_off(&self.app, job, self.session).await
    }

    pub(super) async fn plan_many(&self, request: &bulk::Request) -> Result<bulk::Page, CliError> {
        let mut request = request.clone();
        request.by = cancel::who();
        if let Some(edits) = &request.edits {
            request.edits = Some(self.found(edits).await?);
        }
        let (page, before) = bulk::plan(&self.app, &request).await?;
        Ok(bulk::Page {
            next_cursor: before.map(|job| Cursor::Job(job).to_string()),
            ..page
        })
    }

    pub(super) async fn execute_many(
        &self,
        wanted: &bulk::Execution,
    ) -> Result<bulk::Executed, CliError> {
        Ok(bulk::execute(&self.app, wanted, &cancel::who()).await)
    }
}

/// The definition that is called `video:full`, `video:full@4`, or that is in a file of that name.
fn named_definition(named: &str, session: &Session) -> Result<Definition, CliError> {
    let version = match named.rsplit_once('@') {
        Some((name, version)) if !Path::new(named).exists() => {
            version.parse::<u32>().ok().map(|version| (name, version))
        }
        _ => None,
    };
    let Some((name, version)) = version else {
        return workflow::find(named, &session.program);
    };
    let found = workflow::find(name, &session.program)?;
    if found.version == version {
        return Ok(found);
    }
    Err(CliError::not_found(format!(
        "there is no definition {named}: installed is {name}@{}; name another one by its file, or by its digest \
         if a job has executed it",
        found.version
    )))
}
