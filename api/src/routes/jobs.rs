use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use telecine_engine::committer::CommitError;
use telecine_engine::coordinator::{Submission, SubmitError, Submitted};
use telecine_engine::id::RunId;
use telecine_engine::limits;
use telecine_engine::objects::OWN_PREFIXES;
use telecine_engine::run::{Run, RunStatus};
use telecine_engine::store::{RequestKey, RunFilter, StoreError, Window};
use utoipa::{IntoParams, ToSchema};

use super::Site;
use super::request::{Json, MaybeJson, NamedJob, Parameters, invalid_parameter};
use super::submit::JobRequest;
use crate::auth::{Caller, Reader, Writer};
use crate::cursor::Cursor;
use crate::document::{JobDocument, JobHeader};
use crate::error::{Code, FieldError, Problem, ProblemDocument};

/// Jobs of one page, unless a caller wants fewer.
const PAGE: usize = 100;
/// Objects of a finished job that are looked at when it is asked for again.
const RESULTS: usize = 16;
/// The header with which a caller names a request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Characters of such a name.
const KEY_BYTES: usize = 255;

/// Submits a job.
///
/// The same request as before (same workflow, source as it is now, and input) is answered with the
/// job that it made then, unless what that one published is gone.
#[utoipa::path(
    post,
    path = "/api/jobs",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "What the caller calls this request.")),
    request_body(content = JobRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "A new job; `Location` is its address.", body = JobHeader),
        (status = 200, description = "The job that an equal request made.", body = JobHeader),
        (status = "4XX", description = "Nothing was done.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "Nothing was done.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn submit(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    headers: HeaderMap,
    Json(body): Json,
) -> Result<Response, Problem> {
    let key = request_key(&headers, &caller, &body)?;
    let (submission, pointers) = JobRequest::read(body)?.submission(&site)?;
    let stores = submission.stores.clone();
    let coordinator = &site.app.coordinator;
    let submitted = match key {
        Some(key) => coordinator.submit_once(submission, key).await,
        None => submit_anew(&site, submission).await,
    };
    let submitted = submitted.map_err(|error| pointers.problem(error, &stores))?;
    let status = match submitted.existing {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    answer(&site, &submitted.run, status).await
}

/// Submits a request that may have been made before. If what the job of that time published is no longer
/// there, it is no answer: the request makes a new job.
async fn submit_anew(site: &Site, submission: Submission) -> Result<Submitted, SubmitError> {
    let coordinator = &site.app.coordinator;
    let submitted = coordinator.submit(submission.clone()).await?;
    if !submitted.existing {
        return Ok(submitted);
    }
    let Some(key) = missing(site, &submitted.run).await? else {
        return Ok(submitted);
    };
    tracing::info!(run.id = %submitted.run, key, "a job is done again whose result is gone");
    let again = Submission {
        force: true,
        ..submission
    };
    coordinator.submit(again).await
}

/// The key of an object that the output of a finished job names and that is gone. Only the names in its
/// output are looked at, playlists and covers: a few objects, where all segments of a film are thousands. A
/// store that cannot tell is taken to have them.
async fn missing(site: &Site, job: &RunId) -> Result<Option<String>, StoreError> {
    let run = site.app.store().load_run(job).await?;
    let run = run.filter(|run| run.status == RunStatus::Succeeded);
    let Some((run, media)) = run.and_then(|run| {
        let media = site.app.coordinator.objects.open(&run.stores.media);
        Some((run, media.ok()?))
    }) else {
        return Ok(None);
    };
    let mut keys = Vec::new();
    collect_keys(run.output.as_ref().unwrap_or(&Value::Null), &mut keys);
    for key in keys {
        if let Ok(None) = media.head(key).await {
            return Ok(Some(key.to_owned()));
        }
    }
    Ok(None)
}

/// The keys that a value names, up to [`RESULTS`] of them.
fn collect_keys<'a>(value: &'a Value, keys: &mut Vec<&'a str>) {
    match value {
        Value::String(text)
            if keys.len() < RESULTS && OWN_PREFIXES.iter().any(|own| text.starts_with(own)) =>
        {
            keys.push(text);
        }
        Value::Array(list) => list.iter().for_each(|value| collect_keys(value, keys)),
        Value::Object(members) => members.values().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

/// What the caller calls the request, so that sending it again is no second one.
fn request_key(
    headers: &HeaderMap,
    caller: &Caller,
    body: &Value,
) -> Result<Option<RequestKey>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES {
        return Err(invalid_parameter(&format!(
            "Idempotency-Key has to be 1 to {KEY_BYTES} visible ASCII characters"
        )));
    }
    Ok(Some(RequestKey {
        key: caller.own(key),
        digest: hex(&Sha256::digest(body.to_string().as_bytes())),
    }))
}

/// The header of a job with its address.
pub(super) async fn answer(
    site: &Site,
    job: &RunId,
    status: StatusCode,
) -> Result<Response, Problem> {
    // Not as a visitor: what was asked for is done, and who asked has to hear of it.
    let run = site.app.store().load_run(job).await?;
    let run = run.ok_or_else(|| StoreError::NoRun(job.clone()))?;
    let document = JobHeader::from(&run);
    let location = [(header::LOCATION, format!("/api/jobs/{job}"))];
    Ok((status, location, axum::Json(document)).into_response())
}

/// The row of a job.
pub(super) async fn header(site: &Site, job: &RunId) -> Result<Run, Problem> {
    let run = site.app.visitors().load_run(job).await?;
    run.ok_or_else(|| StoreError::NoRun(job.clone()).into())
}

/// Which jobs a list has.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Only jobs in this state.
    #[param(pattern = "^(queued|running|held|succeeded|failed|cancelled)$")]
    status: Option<String>,
    /// Only jobs of this workflow.
    r#type: Option<String>,
    /// Only jobs with this label: `name=value`.
    #[param(pattern = "=")]
    label: Option<String>,
    /// Only jobs whose input or output says that this is the identity of their media.
    hash: Option<String>,
    /// Only jobs that were submitted later: `2026-01-31T12:00:00Z`.
    created_after: Option<DateTime<Utc>>,
    /// At most so many, up to 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A page of jobs, newest first. With a filter that few jobs fit, a page may have few entries, or none,
/// although there are more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobPage {
    items: Vec<JobHeader>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists jobs, newest first.
#[utoipa::path(
    get,
    path = "/api/jobs",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(ListParameters),
    responses(
        (status = 200, description = "A page.", body = JobPage),
        (status = "4XX", description = "A parameter cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    _: Reader,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<axum::Json<JobPage>, Problem> {
    let filter = parameters.filter()?;
    let page = site.app.visitors().list_runs(&filter).await?;
    Ok(axum::Json(JobPage {
        next_cursor: page.before.map(|last| Cursor::Job(last).to_string()),
        items: page.runs.iter().map(JobHeader::from).collect(),
    }))
}

impl ListParameters {
    /// The jobs of a page.
    fn filter(self) -> Result<RunFilter, Problem> {
        self.check_texts()?;
        let status = match self.status.as_deref() {
            None => None,
            Some(text) => Some(RunStatus::parse(text).ok_or_else(|| {
                let known = RunStatus::ALL.iter().map(|status| status.as_str());
                let known = known.collect::<Vec<_>>().join(", ");
                invalid_parameter(&format!("status has to be one of {known}"))
            })?),
        };
        let before = match self.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(Cursor::Job(job))) => Some(job),
            Some(_) => return Err(invalid_parameter("the cursor is of another list")),
        };
        let label = match self.label.as_deref().map(|label| label.split_once('=')) {
            None => None,
            Some(Some((name, value))) => Some((name.to_owned(), value.to_owned())),
            Some(None) => return Err(invalid_parameter("a label is written name=value")),
        };
        Ok(RunFilter {
            status,
            workflow: self.r#type,
            label,
            hash: self.hash,
            created_after: self.created_after,
            before,
            limit: page_size(self.limit, PAGE)?,
        })
    }

    /// Not every database takes every character.
    fn check_texts(&self) -> Result<(), Problem> {
        let texts = [
            ("type", &self.r#type),
            ("label", &self.label),
            ("hash", &self.hash),
        ];
        for (name, text) in texts {
            let text = text.as_deref().unwrap_or_default();
            if text.chars().any(char::is_control) {
                let detail = format!("{name} has a control character, and no job has one there");
                return Err(invalid_parameter(&detail));
            }
        }
        Ok(())
    }
}

/// How many entries a page has that a caller may have wanted smaller.
pub(super) fn page_size(wanted: Option<usize>, most: usize) -> Result<usize, Problem> {
    match wanted.unwrap_or(most) {
        size if (1..=most).contains(&size) => Ok(size),
        _ => Err(invalid_parameter(&format!(
            "limit has to be from 1 to {most}"
        ))),
    }
}

/// Shows a job.
///
/// With everything in it: steps, attempts, progress, artifacts, output, error, and what retrying it
/// would do. Long lists carry their first 100 entries; `steps_next` and `artifacts_next` are where the
/// others are.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "The job.")),
    responses(
        (status = 200, description = "The job; `ETag` changes with it.", body = JobDocument),
        (status = 304, description = "It is still as `If-None-Match` knows it."),
        (status = "4XX", description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedJob(job): NamedJob,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sources = site.app.part_of_job(&job, &Window::Head).await?;
    tagged(&JobDocument::linked(&sources), &headers)
}

/// A document with the hash of its bytes as `ETag`, or 304 if the caller has it.
fn tagged(document: &impl Serialize, asked: &HeaderMap) -> Result<Response, Problem> {
    let body = serde_json::to_vec(document).map_err(Problem::internal)?;
    let tag = format!("\"{}\"", hex(&Sha256::digest(&body)[..16]));
    let known = is_known(asked, &tag);
    let headers = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok(match known {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (headers, json, body).into_response()
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `If-None-Match` names a tag.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let asked = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"));
    tags.any(|known| known == tag || known == "*")
}

/// Why a job is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelRequest {
    /// For whoever reads the job's history.
    #[schema(max_length = 2000)]
    reason: Option<String>,
}

impl CancelRequest {
    fn read(body: Option<Value>) -> Result<Self, Problem> {
        let wrong = |pointer: &str, why: String| {
            Problem::new(
                Code::InvalidRequest,
                "the request is not as it should be: see `errors`",
            )
            .with_errors(vec![FieldError::new(pointer, why)])
        };
        let Some(body) = body.filter(|body| !body.is_null()) else {
            return Ok(Self::default());
        };
        let request: Self =
            serde_json::from_value(body).map_err(|error| wrong("", error.to_string()))?;
        let long = |reason: &String| reason.chars().count() > limits::MESSAGE_CHARS;
        if request.reason.as_ref().is_some_and(long) {
            let why = format!("has to be at most {} characters", limits::MESSAGE_CHARS);
            return Err(wrong("/reason", why));
        }
        Ok(request)
    }
}

/// Cancels a job.
///
/// Whoever works on it notices within about two seconds.
#[utoipa::path(
    post,
    path = "/api/jobs/{id}/cancel",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "The job.")),
    request_body(content = Option<CancelRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "It is cancelled.", body = JobHeader),
        (status = "4XX", description = "There is none, or it has ended.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(site): State<Arc<Site>>,
    Writer(caller): Writer,
    NamedJob(job): NamedJob,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Problem> {
    let request = CancelRequest::read(body)?;
    // A job that is not there is told from one that has ended.
    header(&site, &job).await?;
    let reason = request.reason.as_deref().map(str::trim);
    let reason = reason.filter(|reason| !reason.is_empty());
    let by = caller.name();
    match site.app.coordinator.cancel(&job, &by, reason).await {
        Ok(()) => answer(&site, &job, StatusCode::ACCEPTED).await,
        Err(CommitError::Rejected(_)) => {
            let status = header(&site, &job).await?.status;
            let detail = format!("{job} is {status} already: there is nothing to cancel");
            Err(Problem::new(Code::JobEnded, detail))
        }
        Err(error) => Err(error.into()),
    }
}
