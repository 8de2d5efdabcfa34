//! The plans of many jobs.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use telecine_engine::definition::misfits;
use utoipa::{PartialSchema as _, ToSchema};

use super::edits;
use super::plans::PlanParameters;
use crate::auth::Writer;
use crate::bulk::{self, Executed, Execution, Filter, Page};
use crate::cursor::Cursor;
use crate::error::{Code, FieldError, Problem, ProblemDocument};
use crate::routes::Site;
use crate::routes::request::{Json, Parameters};

/// Jobs of one page, unless a caller wants another number.
const JOBS: usize = 20;

/// Which jobs are planned, and with which edits.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkRequest {
    /// Which jobs; all that failed, unless given.
    #[serde(default)]
    #[schema(inline)]
    filter: Filter,
    /// The same for each: what `POST /api/jobs/{id}/retry-plans` takes.
    #[schema(value_type = Option<Object>)]
    edits: Option<Value>,
    /// Jobs to look at for this page.
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[schema(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

static REQUEST: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(BulkRequest::schema()).unwrap_or_default());
static EXECUTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(Execution::schema()).unwrap_or_default());

/// Makes a plan for each job that fits: a dry run, nothing is executed.
///
/// Page by page, newest job first, each with what its plans come to. A page may have few jobs, or none,
/// although there are more.
#[utoipa::path(
    post,
    path = "/api/retry-plans",
    tag = "retry plans",
    security(("api_key" = ["jobs:write"])),
    params(PlanParameters),
    request_body(content = BulkRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "A page of plans.", body = Page),
        (status = "4XX", description = "The request cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn plan(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    Parameters(parameters): Parameters<PlanParameters>,
    Json(body): Json,
) -> Result<axum::Json<Page>, Problem> {
    let request: BulkRequest = checked(&REQUEST, body)?;
    let before = match request.cursor.as_deref().map(str::parse) {
        None => None,
        Some(Ok(Cursor::Job(job))) => Some(job),
        Some(_) => return Err(wrong("/cursor", "is of another list")),
    };
    let edits = request.edits.map(|edits| edits::read(edits, "/edits"));
    let request = bulk::Request {
        filter: request.filter,
        edits: edits.transpose()?,
        how: parameters.verify,
        before,
        limit: request.limit.unwrap_or(JOBS),
        by: caller.name(),
    };
    let (page, next) = bulk::plan(&site.app, &request).await?;
    Ok(axum::Json(Page {
        next_cursor: next.map(|job| Cursor::Job(job).to_string()),
        ..page
    }))
}

/// Executes the plans of many jobs, no more than so many of the jobs running at a time.
///
/// Each plan is named with its digest, as `If-Match` does for one. What may not run yet waits: the same
/// request again tells what has become of all of them, and goes on with those that wait.
#[utoipa::path(
    post,
    path = "/api/retry-plans/execute",
    tag = "retry plans",
    security(("api_key" = ["jobs:write"])),
    request_body(content = Execution, content_type = "application/json"),
    responses(
        (status = 200, description = "What has become of each.", body = Executed),
        (status = "4XX", description = "The request cannot be used; nothing was done.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn execute(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    Json(body): Json,
) -> Result<axum::Json<Executed>, Problem> {
    let wanted: Execution = checked(&EXECUTION, body)?;
    let executed = bulk::execute(&site.app, &wanted, &caller.name()).await;
    Ok(axum::Json(executed))
}

/// Reads a body that fits its schema.
fn checked<T: DeserializeOwned>(schema: &Value, body: Value) -> Result<T, Problem> {
    let misfits = misfits(schema, &body);
    if !misfits.is_empty() {
        return Err(invalid(misfits.into_iter().map(FieldError::from).collect()));
    }
    serde_json::from_value(body).map_err(|error| wrong("", &error.to_string()))
}

fn wrong(pointer: &str, why: &str) -> Problem {
    invalid(vec![FieldError::new(pointer, why)])
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    let detail = "the request is not as it should be: see `errors`";
    Problem::new(Code::InvalidRequest, detail).with_errors(errors)
}
