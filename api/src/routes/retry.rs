use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use telecine_engine::committer::CommitError;
use telecine_engine::coordinator::SubmitError;
use telecine_engine::id::RunId;
use telecine_engine::retry::plan::{PlanState, RetryPlan};
use telecine_engine::run::RunStatus;

use super::Site;
use super::jobs::{answer, header as job_header};
use super::request::NamedJob;
use crate::auth::{Reader, Writer};
use crate::document::JobHeader;
use crate::error::{Code, Problem, ProblemDocument};

/// What trying a stopped job again would do.
///
/// For each step: kept, resumed, run again, left out or blocked, and why. Nothing is executed.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/retry-plan",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "The job.")),
    responses(
        (status = 200, description = "The plan; `ETag` is its digest.", body = Object),
        (status = "4XX", description = "There is no such job, or nothing of it is to be retried.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn plan(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedJob(job): NamedJob,
) -> Result<Response, Problem> {
    let run = job_header(&site, &job).await?;
    let stopped = run.status.is_stopped() && run.status != RunStatus::Succeeded;
    let plan = match stopped {
        true => site.app.visitors().load_plan(&job).await?,
        false => None,
    };
    let plan = plan.filter(|plan| plan.state == PlanState::Proposed);
    let plan = plan.ok_or_else(|| {
        let detail = format!("{job} is {}: nothing of it is to be retried", run.status);
        Problem::new(Code::NoPlan, detail)
    })?;
    let tag = [(header::ETAG, format!("\"{}\"", plan.digest))];
    Ok((tag, axum::Json(plan)).into_response())
}

/// Tries a stopped job again, as its plan says.
///
/// The same job goes on in its next round; what was finished is kept.
#[utoipa::path(
    post,
    path = "/api/jobs/{id}/retry",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "The job.")),
    responses(
        (status = 202, description = "It goes on.", body = JobHeader),
        (status = "4XX", description = "There is no such job, it has not stopped, or trying again would not help.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn retry(
    State(site): State<Arc<Site>>,
    _: Writer,
    NamedJob(job): NamedJob,
) -> Result<Response, Problem> {
    let run = job_header(&site, &job).await?;
    if !run.status.is_stopped() || run.status == RunStatus::Succeeded {
        let detail = format!("{job} is {}: there is nothing to retry", run.status);
        return Err(Problem::new(Code::JobNotStopped, detail));
    }
    let plan = verified(&site, &job).await?;
    match site.app.coordinator.execute(plan).await {
        Ok(()) => answer(&site, &job, StatusCode::ACCEPTED).await,
        Err(CommitError::Rejected(why)) => {
            let detail = format!("{job} changed at the same moment: {why}");
            Err(Problem::new(Code::JobChanged, detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// The plan of a job with what its objects are like now, if it can be executed.
async fn verified(site: &Site, job: &RunId) -> Result<RetryPlan, Problem> {
    let plan = match site.app.coordinator.verify_plan(job).await {
        Ok(plan) => plan,
        Err(SubmitError::Commit(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, run.id = %job, "the objects of a plan could not be looked at");
            let detail = "the media store cannot be used at the moment; try again";
            return Err(Problem::new(Code::StoreUnavailable, detail));
        }
    };
    match plan {
        Some(plan) if plan.executable => Ok(plan),
        Some(plan) => {
            let detail = match plan.warnings.is_empty() {
                true => "trying again as it is would not help".to_owned(),
                false => plan.warnings.join("; "),
            };
            Err(Problem::new(Code::PlanNotExecutable, detail))
        }
        None => {
            let detail = format!("{job} went on at the same moment");
            Err(Problem::new(Code::JobChanged, detail))
        }
    }
}
