//! What is read of a request: its parameters and its JSON, each refusal a problem.

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use telecine_engine::id::{PlanId, RunId, StepId};

use crate::error::{Code, Problem};

/// Bytes of a body. The input of a job is a few options, kept in every copy of the job.
const BODY_BYTES: usize = 1024 * 1024;

/// The JSON of a body.
pub(crate) struct Json(pub(crate) Value);

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "the body has to be declared as JSON: Content-Type: application/json";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let bytes = body(request).await?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|error| {
            let detail = format!("the body is not JSON: {error}");
            Problem::new(Code::MalformedJson, detail)
        })
    }
}

/// The JSON of a body that may be missing.
pub(crate) struct MaybeJson(pub(crate) Option<Value>);

impl<S: Sync> FromRequest<S> for MaybeJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        if !chunked && length.is_none_or(|length| length == "0") {
            return Ok(Self(None));
        }
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(Some(value)))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn body(request: Request) -> Result<axum::body::Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {BODY_BYTES} bytes");
        Problem::new(Code::BodyTooLarge, detail)
    };
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    let body: Body = request.into_body();
    to_bytes(body, BODY_BYTES).await.map_err(|error| {
        let limited = std::error::Error::source(&error)
            .is_some_and(|cause| cause.to_string().contains("length limit"));
        if limited {
            too_large()
        } else {
            Problem::new(Code::InvalidRequest, "the body ended before its end")
        }
    })
}

/// The parameters behind the `?` of an address.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(parameters) = read.map_err(|error: QueryRejection| {
            let cause = std::error::Error::source(&error);
            let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
            invalid_parameter(&format!("the parameters cannot be used: {why}"))
        })?;
        Ok(Self(parameters))
    }
}

/// The part of an address that names something.
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = read.map_err(|_: PathRejection| not_utf8())?;
        Ok(Self(name))
    }
}

fn not_utf8() -> Problem {
    invalid_parameter("the address is not UTF-8 with percent escapes")
}

/// The part of an address that names a job. What no id can look like is not asked of the database: some
/// take no text that has a NUL.
pub(crate) struct NamedJob(pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for NamedJob {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Named(id) = Named::from_request_parts(parts, state).await?;
        job_id(id).map(Self)
    }
}

fn job_id(id: String) -> Result<RunId, Problem> {
    if id.chars().any(char::is_control) {
        let detail = "there is no such job: no id has control characters";
        return Err(Problem::new(Code::NoJob, detail));
    }
    Ok(RunId::from(id))
}

/// The parts of an address that name a step of a job.
pub(crate) struct NamedStep(pub(crate) RunId, pub(crate) StepId);

impl<S: Send + Sync> FromRequestParts<S> for NamedStep {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((job, step)) = read.map_err(|_: PathRejection| not_utf8())?;
        let job = job_id(job)?;
        let plain = Some(&step).filter(|step| !step.chars().any(char::is_control));
        let id = plain.and_then(|step| step.parse().ok());
        let id = id.ok_or_else(|| no_step(&job, &step))?;
        Ok(Self(job, id))
    }
}

/// The parts of an address that name a retry plan of a job.
pub(crate) struct NamedPlan(pub(crate) RunId, pub(crate) PlanId);

impl<S: Send + Sync> FromRequestParts<S> for NamedPlan {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((job, plan)) = read.map_err(|_: PathRejection| not_utf8())?;
        let job = job_id(job)?;
        if plan.chars().any(char::is_control) {
            let detail = format!("{job} has no such plan: no id has control characters");
            return Err(Problem::new(Code::NoPlan, detail));
        }
        Ok(Self(job, PlanId::from(plan)))
    }
}

/// That a job has no such step.
pub(super) fn no_step(job: &RunId, step: &str) -> Problem {
    let step: String = step.chars().filter(|char| !char.is_control()).collect();
    Problem::new(Code::NoStep, format!("{job} has no step {step}"))
}

/// A parameter or a header that cannot be used.
pub(super) fn invalid_parameter(detail: &str) -> Problem {
    Problem::new(Code::InvalidParameter, detail)
}
