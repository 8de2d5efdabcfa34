//! Retry plans: what trying a stopped job again would do, and doing it.

pub(crate) mod bulk;
mod edits;
pub(crate) mod plans;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use telecine_engine::retry::plan::PlanState;
use telecine_engine::retry::world::Verification;
use telecine_engine::run::RunStatus;

use super::Site;
use super::jobs::{answer, header as job_header};
use super::request::NamedJob;
use crate::auth::{Reader, Writer};
use crate::document::{JobHeader, RetryPlanDocument};
use crate::error::{Code, Problem, ProblemDocument, etag};

/// What trying a stopped job again would do.
///
/// For each step: kept, resumed, run again, left out or blocked, and why. Nothing is executed. Of a long
/// plan, the first 100 steps; `steps_next` is where the others are.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/retry-plan",
    tag = "retry plans",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "The job.")),
    responses(
        (status = 200, description = "The plan; `ETag` is its digest.", body = RetryPlanDocument),
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
    let head = match stopped {
        true => site.app.visitors().plan_head(&job).await?,
        false => None,
    };
    let head = head.filter(|head| head.plan.state == PlanState::Proposed);
    let head = head.ok_or_else(|| {
        let detail = format!("{job} is {}: nothing of it is to be retried", run.status);
        Problem::new(Code::NoPlan, detail)
    })?;
    Ok(shown(StatusCode::OK, &RetryPlanDocument::head(head)))
}

/// A plan with its digest as `ETag`.
fn shown(status: StatusCode, document: &RetryPlanDocument) -> Response {
    let tag = [(header::ETAG, etag(&document.plan.digest))];
    (status, tag, axum::Json(document)).into_response()
}

/// Tries a stopped job again, as its current plan says.
///
/// The same job goes on in its next round; what was finished is kept. Whoever wants to be sure of what
/// will be done executes the plan that they have seen instead.
#[utoipa::path(
    post,
    path = "/api/jobs/{id}/retry",
    tag = "retry plans",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "The job.")),
    responses(
        (status = 202, description = "It goes on.", body = JobHeader),
        (status = "4XX", description = "There is no such job, it has not stopped, or trying again would not help.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn retry(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    NamedJob(job): NamedJob,
) -> Result<Response, Problem> {
    let coordinator = &site.app.coordinator;
    let plan = coordinator.verify(&job, Verification::Heads).await?;
    coordinator
        .execute(&job, &plan.seen(), &caller.name())
        .await?;
    answer(&site, &job, StatusCode::ACCEPTED).await
}
