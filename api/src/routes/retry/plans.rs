//! The plans of one job: made with edits, looked at, executed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use telecine_engine::coordinator::PlanError;
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::retry::plan::{RetryPlan, Seen};
use telecine_engine::retry::world::Verification;
use utoipa::{IntoParams, ToSchema};

use super::edits::{self, EditRequest};
use super::shown;
use crate::auth::{Reader, Writer};
use crate::cursor::Cursor;
use crate::document::{JobHeader, PlannedStepPage, RetryPlanDocument};
use crate::error::{Code, Problem, ProblemDocument};
use crate::proofs::{self, Proof, Wanted};
use crate::routes::Site;
use crate::routes::jobs::{answer, header as job_header, page_size};
use crate::routes::request::{MaybeJson, NamedJob, NamedPlan, Parameters, invalid_parameter};

/// When to ask again for a plan that takes long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Steps of one page, unless a caller wants fewer.
const STEPS: usize = 1000;

/// How closely objects are looked at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanParameters {
    /// `heads`, unless given: whether each object is there, with its size and the ETag that it was put with (one with another
    /// ETag is read); or `full`: every byte of each.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^(heads|full)$")]
    pub(super) verify: Verification,
}

/// Makes a new plan: a dry run, nothing is executed.
///
/// With edits, if the body has some; without a body, the current plan is made again with its edits. What
/// the steps left in the store is looked at first. The plan that was current is superseded, unless the new
/// one does the same.
#[utoipa::path(
    post,
    path = "/api/jobs/{id}/retry-plans",
    tag = "retry plans",
    security(("api_key" = ["jobs:write"])),
    params(
        ("id" = String, Path, description = "The job."),
        PlanParameters,
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS` (RFC 7240): how long to wait for `verify=full` before the answer is 202; 20 unless given, and at most."),
    ),
    request_body(content = Option<EditRequest>, content_type = "application/json"),
    responses(
        (status = 201, description = "The plan; `ETag` is its digest, `Location` its address.", body = RetryPlanDocument),
        (status = 202, description = "Reading every byte takes longer than the caller waits: the same request again waits for it.", body = ReadingDocument),
        (status = "4XX", description = "There is no such job, it has not stopped, or an edit cannot work: `errors` names each.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    NamedJob(job): NamedJob,
    Parameters(parameters): Parameters<PlanParameters>,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Problem> {
    let (coordinator, how) = (&site.app.coordinator, parameters.verify);
    let edits = body.map(|edits| edits::read(edits, "")).transpose()?;
    let by = caller.name();
    let plan = match (how, &edits) {
        (Verification::Full, _) => {
            let of_job = job.clone();
            let wanted = Wanted {
                job: of_job,
                edits,
                by,
            };
            match read_fully(&site, (wanted, patience(&headers))).await? {
                Some(plan) => plan,
                None => return Ok(reading(job)),
            }
        }
        (Verification::Heads, Some(edits)) => coordinator.plan(&job, (edits, &by), how).await?,
        (Verification::Heads, None) => coordinator.verify(&job, how).await?,
    };
    let place = format!("/api/jobs/{job}/retry-plans/{}", plan.id);
    let mut response = shown(StatusCode::CREATED, &RetryPlanDocument::linked(plan));
    if let Ok(place) = place.parse() {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// How long a caller wants to wait, as far as it may: `Prefer: wait=5`. What nobody knows is left alone, as
/// RFC 7240 has it.
fn patience(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all("prefer").iter();
    let preferences = preferences.filter_map(|value| value.to_str().ok());
    let mut preferences = preferences.flat_map(|value| value.split(','));
    let wanted = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        (name.trim().eq_ignore_ascii_case("wait")).then(|| Duration::from_secs(seconds))
    });
    wanted.unwrap_or(proofs::PATIENCE).min(proofs::PATIENCE)
}

/// A plan that is made once every byte of the job's objects was read; `None` if that takes longer than the
/// caller waits.
async fn read_fully(site: &Site, wanted: (Wanted, Duration)) -> Result<Option<RetryPlan>, Problem> {
    match site.proofs.make(&site.app.coordinator, wanted).await {
        Proof::Made(made) => match made.as_ref() {
            Ok(plan) => Ok(Some(plan.clone())),
            Err(error) => Err(error.into()),
        },
        Proof::Reading => Ok(None),
        Proof::Busy => {
            let detail = "the objects of too many jobs are being read; try again";
            Err(Problem::new(Code::TooManyRequests, detail).retry_after(ASK_AGAIN))
        }
    }
}

/// A plan that is not made yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadingDocument {
    #[schema(value_type = String)]
    job: RunId,
    /// What goes on: `reading`.
    state: &'static str,
    /// What to do.
    detail: &'static str,
}

fn reading(job: RunId) -> Response {
    let document = ReadingDocument {
        job,
        state: "reading",
        detail: "the objects of the job are being read: ask for the same once more",
    };
    let again = [(header::RETRY_AFTER, ASK_AGAIN.as_secs().to_string())];
    (StatusCode::ACCEPTED, again, Json(document)).into_response()
}

/// Shows a plan of a job, also one that was executed or superseded.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/retry-plans/{plan}",
    tag = "retry plans",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("plan" = String, Path, description = "The plan."),
    ),
    responses(
        (status = 200, description = "The plan; `ETag` is its digest.", body = RetryPlanDocument),
        (status = "4XX", description = "There is no such job, or no such plan of it.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedPlan(job, plan): NamedPlan,
) -> Result<Response, Problem> {
    job_header(&site, &job).await?;
    let plan = visited(&site, &job, &plan).await?;
    Ok(shown(StatusCode::OK, &RetryPlanDocument::linked(plan)))
}

/// A plan of that job.
async fn visited(site: &Site, job: &RunId, plan: &PlanId) -> Result<RetryPlan, Problem> {
    let found = site.app.visitors().find_plan(plan).await?;
    let found = found.filter(|found| found.job == *job);
    let (run, plan) = (job.clone(), plan.clone());
    found.ok_or_else(|| PlanError::NoPlan { run, plan }.into())
}

/// Which part of the steps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StepParameters {
    /// At most so many, up to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// Lists the steps of a plan, in the order of the workflow.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/retry-plans/{plan}/steps",
    tag = "retry plans",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("plan" = String, Path, description = "The plan."),
        StepParameters,
    ),
    responses(
        (status = 200, description = "A page.", body = PlannedStepPage),
        (status = "4XX", description = "There is no such job or plan, or a parameter cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn steps(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedPlan(job, plan): NamedPlan,
    Parameters(parameters): Parameters<StepParameters>,
) -> Result<Json<PlannedStepPage>, Problem> {
    let limit = page_size(parameters.limit, STEPS)?;
    let before = match parameters.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(Cursor::PlannedStep(before))) => before,
        Some(_) => return Err(invalid_parameter("the cursor is of another list")),
    };
    job_header(&site, &job).await?;
    let steps = visited(&site, &job, &plan).await?.steps;
    let (total, end) = (steps.len(), before.saturating_add(limit));
    Ok(Json(PlannedStepPage {
        items: steps.into_iter().take(end).skip(before).collect(),
        total,
        next_cursor: (end < total).then(|| Cursor::PlannedStep(end).to_string()),
    }))
}

/// Executes a plan: the job goes on in its next round.
///
/// `If-Match` has to be the plan's digest. What the plan stands on is looked at once more; if that changes
/// what would be done, nothing is done, and the answer has the plan as it is now.
#[utoipa::path(
    post,
    path = "/api/jobs/{id}/retry-plans/{plan}/execute",
    tag = "retry plans",
    security(("api_key" = ["jobs:write"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("plan" = String, Path, description = "The plan."),
        ("If-Match" = String, Header, description = "The digest of the plan, as its `ETag` has it."),
    ),
    responses(
        (status = 202, description = "The job goes on.", body = JobHeader),
        (status = 412, description = "The plan is another one by now: `plan` has it.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "There is no such plan of the job, it was executed before, a later one took its place, or it cannot be executed.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn execute(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    NamedPlan(job, plan): NamedPlan,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    job_header(&site, &job).await?;
    let digest = wanted(&headers)?;
    let seen = Seen { id: plan, digest };
    let coordinator = &site.app.coordinator;
    coordinator.execute(&job, &seen, &caller.name()).await?;
    answer(&site, &job, StatusCode::ACCEPTED).await
}

/// The digest that `If-Match` names. `*` names none: it would execute what nobody has seen.
fn wanted(headers: &HeaderMap) -> Result<String, Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter();
    let (value, more) = (given.next(), given.next().is_some());
    let text = value.and_then(|value| value.to_str().ok());
    let text = text.map(|text| text.trim().trim_matches('"'));
    match text.filter(|text| !more && !text.is_empty() && *text != "*") {
        Some(digest) => Ok(digest.to_owned()),
        None => {
            let detail = "say which plan is meant: If-Match has to be its digest, as in its ETag";
            Err(Problem::new(Code::IfMatchMissing, detail))
        }
    }
}
