//! Plans at a server.

use std::path::Path;

use serde_json::{Value, json};
use telecine_engine::coordinator::PlanError;
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::retry::world::Verification;
use telecine_engine::reuse::Explanation;

use super::Executed;
use crate::bulk;
use crate::cli::Session;
use crate::cli::again;
use crate::cli::exit::{CliError, Exit};
use crate::cli::jobs::{cancel, remote};
use crate::cli::remote::Server;
use crate::cursor::Cursor;
use crate::document::{JobDocument, PlannedStepPage, RetryPlanDocument, json_name};

/// Steps of a plan that a server is asked for at a time.
const PAGE: usize = 1000;

/// Plans at a server.
#[derive(Debug)]
pub(in crate::cli::plan) struct There<'a> {
    pub(super) server: Server,
    pub(super) session: &'a Session,
}

impl There<'_> {
    pub(super) async fn find(&self, id: &str) -> Result<RunId, CliError> {
        remote::find(&self.server, id).await
    }

    pub(super) async fn current(&self, job: &RunId) -> Result<RetryPlanDocument, CliError> {
        let path = ["api", "jobs", job.as_str(), "retry-plan"];
        match self.server.get(&path, &[]).await {
            Ok(plan) => self.whole(plan).await,
            Err(error) if error.is_not_found() => {
                let document: JobDocument = self.server.get(&path[..3], &[]).await?;
                let (run, status) = (document.id, document.status);
                Err(PlanError::NotStopped { run, status }.into())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn load(
        &self,
        job: &RunId,
        plan: &PlanId,
    ) -> Result<RetryPlanDocument, CliError> {
        let path = ["api", "jobs", job.as_str(), "retry-plans", plan.as_str()];
        self.whole(self.server.get(&path, &[]).await?).await
    }

    /// A plan with the steps that its first page does not have.
    async fn whole(&self, mut document: RetryPlanDocument) -> Result<RetryPlanDocument, CliError> {
        let (job, plan) = (document.plan.job.clone(), document.plan.id.clone());
        let path = [
            "api",
            "jobs",
            job.as_str(),
            "retry-plans",
            plan.as_str(),
            "steps",
        ];
        let mut next = document.steps_next.take().map(|_| {
            let shown = document.plan.steps.len();
            Cursor::PlannedStep(shown).to_string()
        });
        while let Some(cursor) = next {
            let parameters = [("limit", PAGE.to_string()), ("cursor", cursor)];
            let page: PlannedStepPage = self.server.get(&path, &parameters).await?;
            document.plan.steps.extend(page.items);
            next = page.next_cursor;
        }
        Ok(document)
    }

    pub(super) async fn plan(
        &self,
        job: &RunId,
        edits: &Value,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        no_file(edits)?;
        let path = ["api", "jobs", job.as_str(), "retry-plans"];
        let parameters = [("verify", json_name(&how))];
        let made = self
            .server
            .post_with(&path, &parameters, Some(edits))
            .await?;
        self.whole(made).await
    }

    pub(super) async fn verify(
        &self,
        job: &RunId,
        how: Verification,
    ) -> Result<RetryPlanDocument, CliError> {
        let path = ["api", "jobs", job.as_str(), "retry-plans"];
        let parameters = [("verify", json_name(&how))];
        // Without a body, the current plan is made again with its edits.
        let made = self.server.post_with(&path, &parameters, None).await?;
        self.whole(made).await
    }

    pub(super) async fn explain(
        &self,
        job: &RunId,
        step: &StepId,
    ) -> Result<Option<Explanation>, CliError> {
        let step = step.to_string();
        let path = ["api", "jobs", job.as_str(), "steps", &step, "reuse"];
        self.server.find(&path).await
    }

    pub(super) async fn execute(
        &self,
        job: &RunId,
        plan: &PlanId,
        digest: &str,
    ) -> Result<Executed, CliError> {
        let path = [
            "api",
            "jobs",
            job.as_str(),
            "retry-plans",
            plan.as_str(),
            "execute",
        ];
        match self.server.post_if_match(&path, digest).await? {
            Ok(header) => Ok(Executed::Done(Box::new(header))),
            Err(now) => Ok(Executed::Changed(Box::new(self.whole(now).await?))),
        }
    }

    pub(super) async fn go_on(&self, job: &RunId) -> Result<Exit, CliError> {
        let note = format!(
            "`{}` follows it",
            again::other(&format!("jobs watch {job}"))
        );
        self.session.console.note(&note);
        let path = ["api", "jobs", job.as_str()];
        let document: JobDocument = self.server.get(&path, &[]).await?;
        cancel::print(&document.header(), self.session)
    }

    pub(super) async fn plan_many(&self, request: &bulk::Request) -> Result<bulk::Page, CliError> {
        let mut body = json!({"filter": request.filter, "limit": request.limit});
        if let Some(edits) = &request.edits {
            body["edits"] = json!(edits);
            no_file(&body["edits"])?;
        }
        if let Some(job) = &request.before {
            body["cursor"] = Cursor::Job(job.clone()).to_string().into();
        }
        let parameters = [("verify", json_name(&request.how))];
        let path = ["api", "retry-plans"];
        self.server.post_with(&path, &parameters, Some(&body)).await
    }

    pub(super) async fn execute_many(
        &self,
        wanted: &bulk::Execution,
    ) -> Result<bulk::Executed, CliError> {
        let body = json!(wanted);
        self.server
            .post(&["api", "retry-plans", "execute"], &body)
            .await
    }
}

/// A server knows its own workflows: a file of this machine is none of them.
fn no_file(edits: &Value) -> Result<(), CliError> {
    let named = edits.get("definition").and_then(Value::as_str);
    match named.filter(|named| Path::new(named).exists()) {
        None => Ok(()),
        Some(file) => Err(CliError::usage(format!(
            "--definition {file}: a server runs the workflows that are installed there; name one as \
             NAME@VERSION, or by its digest"
        ))),
    }
}
