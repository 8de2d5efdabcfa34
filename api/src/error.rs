//! What goes wrong over HTTP: `application/problem+json` (RFC 9457) with a stable code.

use std::fmt;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use telecine_engine::committer::CommitError;
use telecine_engine::coordinator::PlanError;
use telecine_engine::definition::InputError;
use telecine_engine::retry::edits::EditError;
use telecine_engine::store::StoreError;
use utoipa::ToSchema;

use crate::document::RetryPlanDocument;

/// The media type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Declares the codes: variant, text, status, what it means, what to do.
macro_rules! codes {
    ($($variant:ident = $text:literal, $status:ident, $meaning:literal, $move:literal;)+) => {
        /// What went wrong, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $(#[doc = $meaning] $variant,)+ }

        impl Code {
            /// Its stable name.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The status that it comes with.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }

        /// Every code: name, status, what it means, what to do.
        #[cfg(test)]
        pub(crate) const CODES: &[(&str, StatusCode, &str, &str)] =
            &[$(($text, StatusCode::$status, $meaning, $move),)+];
    };
}

codes! {
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON.", "Send JSON in UTF-8.";
    InvalidRequest = "invalid_request", BAD_REQUEST, "A member of the body is unknown, missing or of the wrong kind.", "`errors` names each.";
    InvalidInput = "invalid_input", BAD_REQUEST, "The input does not fit the schema of the workflow.", "`errors` names each member; `GET /api/workflows/{name}` has the schema.";
    InvalidEdit = "invalid_edit", BAD_REQUEST, "An edit of a retry plan names a step or a value that is not there, or cannot work.", "`errors` names each, with a code of its own: [which](errors.md#edits-of-retry-plans).";
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A parameter of the address or a header cannot be used.", "The detail says which and why.";
    UnknownWorkflow = "unknown_workflow", BAD_REQUEST, "There is no workflow of that type.", "`GET /api/workflows` lists them.";
    SourceMissing = "source_missing", BAD_REQUEST, "There is no object of that key in the source store.", "Store the source first, or correct the key.";
    Unauthorized = "unauthorized", UNAUTHORIZED, "There is no API key, or it is none of this server.", "Send a key in `X-API-Key`.";
    Forbidden = "forbidden", FORBIDDEN, "The API key does not have the scope that this needs.", "Use a key that has it.";
    ForeignOrigin = "foreign_origin", FORBIDDEN, "A web page of another site asks a server that has no API keys.", "Open the page from localhost, or give the server keys.";
    NotFound = "not_found", NOT_FOUND, "There is nothing at this address.", "`/api/openapi.json` lists what there is.";
    NoJob = "no_job", NOT_FOUND, "There is no such job.", "Check the id.";
    NoStep = "no_step", NOT_FOUND, "The job has no such step.", "`GET /api/jobs/{id}/steps` lists them.";
    NoPlan = "no_plan", NOT_FOUND, "Nothing of the job is to be retried, or it has no such plan.", "Nothing: it runs, or it succeeded; of a plan, check the id.";
    NoWorkflow = "no_workflow", NOT_FOUND, "There is no such workflow.", "`GET /api/workflows` lists them.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The address is right, the method is not.", "`Allow` names those that are.";
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long, or its body did not arrive in time.", "Send it again.";
    JobEnded = "job_ended", CONFLICT, "The job has ended: there is nothing to cancel.", "Nothing.";
    JobNotStopped = "job_not_stopped", CONFLICT, "The job has not failed, was not cancelled and is not held.", "Wait, or cancel it first.";
    PlanNotExecutable = "plan_not_executable", CONFLICT, "Trying again as it is would not help.", "The detail says what has to change first.";
    PlanAlreadyExecuted = "plan_already_executed", CONFLICT, "The plan was executed before.", "Look at the job: it went on.";
    JobChanged = "job_changed", CONFLICT, "The job changed at the same moment.", "Look at it again.";
    PlanChanged = "plan_changed", PRECONDITION_FAILED, "The plan is no longer the one that `If-Match` names.", "Look at `plan` in the body, and execute it if it is what you want.";
    PlanSuperseded = "plan_superseded", PRECONDITION_FAILED, "A later plan took the place of this one.", "Look at `plan` in the body, and execute that if it is what you want.";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is larger than 1 MiB.", "Put media into the source store and name its key.";
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The address is longer than 8 KiB.", "Shorten it.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is not declared as JSON.", "Send `Content-Type: application/json`.";
    ForeignHost = "foreign_host", MISDIRECTED_REQUEST, "A server that has no API keys is asked under a name that is not this machine's.", "Ask localhost, 127.0.0.1 or [::1], or give the server keys.";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The `Idempotency-Key` came with another request before.", "Use a new key for a new request.";
    IfMatchMissing = "if_match_missing", PRECONDITION_REQUIRED, "A plan is executed without saying which.", "Send its digest in `If-Match`, as its `ETag` has it.";
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "The server is doing as much at once as it does.", "Wait as long as `Retry-After` says.";
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are larger than 16 KiB.", "Send fewer.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server did something wrong.", "Report it with the trace id.";
    DatabaseUnavailable = "database_unavailable", SERVICE_UNAVAILABLE, "The database cannot be used at the moment.", "Try again; `/readyz` says when it is back.";
    DatabaseFull = "database_full", SERVICE_UNAVAILABLE, "The database cannot grow.", "Give it room.";
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "An object store cannot be used at the moment.", "Try again; `/readyz` says when it is back.";
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "Something that the server needs does not answer.", "The detail names it.";
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The server is about to stop.", "Ask another one.";
}

/// Something wrong with one member of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer into the body.
    pub(crate) pointer: String,
    /// What is wrong.
    pub(crate) message: String,
    /// The same for programs, where there are several ways to be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
}

impl FieldError {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
            code: None,
        }
    }
}

impl From<InputError> for FieldError {
    fn from(error: InputError) -> Self {
        Self::new(error.pointer, error.message)
    }
}

/// Why a request was not done. Becomes the body of the answer where its trace id is known: see
/// [`trace`](crate::trace).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    errors: Vec<FieldError>,
    plan: Option<Box<RetryPlanDocument>>,
    retry_after: Option<Duration>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// Always `about:blank`: `code` tells errors apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// What went wrong, for programs.
    code: &'static str,
    /// What went wrong, for people.
    detail: String,
    /// What the server's log calls this request.
    trace_id: String,
    /// What is wrong with which member of the body.
    errors: Vec<FieldError>,
    /// With `plan_changed`: the plan as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Box<RetryPlanDocument>>,
}

impl Problem {
    /// A problem; the detail is one lowercase sentence.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            plan: None,
            retry_after: None,
        }
    }

    /// With what is wrong with single members.
    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// With the plan that took the place of the one that was meant.
    pub(crate) fn with_plan(mut self, plan: RetryPlanDocument) -> Self {
        self.plan = Some(Box::new(plan));
        self
    }

    /// With how long to wait.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Something wrong with the server, of which a caller is told nothing more.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a request could not be answered");
        Self::new(
            Code::Internal,
            "the server made a mistake; its log says more",
        )
    }

    /// The body.
    pub(crate) fn document(&self, trace_id: String) -> ProblemDocument {
        let status = self.code.status();
        ProblemDocument {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: self.detail.clone(),
            trace_id,
            errors: self.errors.clone(),
            plan: self.plan.clone(),
        }
    }

    /// For a status that some layer answered with by itself.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => (
                Code::MethodNotAllowed,
                "this address does not know the method",
            ),
            status if status.is_client_error() => {
                (Code::InvalidParameter, "the request cannot be read")
            }
            _ => (
                Code::Internal,
                "the server made a mistake; its log says more",
            ),
        };
        Self::new(code, detail)
    }
}

/// The digest of a plan as a header has it.
pub(crate) fn etag(digest: &str) -> String {
    format!("\"{digest}\"")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let digest = self.plan.as_ref().map(|it| etag(&it.plan.digest));
        if let Some(tag) = digest.and_then(|tag| tag.parse().ok()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().max(1);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// How long to wait for a database or a store that does not answer.
const UNAVAILABLE: Duration = Duration::from_secs(2);

impl From<&StoreError> for Code {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NoRun(_) => Self::NoJob,
            StoreError::Full(_) => Self::DatabaseFull,
            StoreError::Unavailable(_) | StoreError::Unreachable(_) | StoreError::Contended(_) => {
                Self::DatabaseUnavailable
            }
            _ => Self::Internal,
        }
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        let code = Code::from(error);
        match code {
            Code::NoJob => Self::new(code, error.to_string()),
            Code::DatabaseFull => {
                tracing::error!(%error, "a request could not be answered");
                let detail = "the database cannot grow; its disk or its quota is full";
                Self::new(code, detail).retry_after(UNAVAILABLE)
            }
            Code::DatabaseUnavailable => {
                tracing::warn!(%error, "a request could not be answered");
                let detail = "the database cannot be used at the moment; try again";
                Self::new(code, detail).retry_after(UNAVAILABLE)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        (&error).into()
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Rejected(why) => Self::new(Code::JobChanged, why.to_string()),
            CommitError::Store(error) => error.as_ref().into(),
            CommitError::Stopped => Self::new(Code::ShuttingDown, "the server is about to stop"),
        }
    }
}

impl From<&PlanError> for Code {
    fn from(error: &PlanError) -> Self {
        match error {
            PlanError::NoRun(_) => Self::NoJob,
            PlanError::NoPlan { .. } => Self::NoPlan,
            PlanError::NotStopped { .. } => Self::JobNotStopped,
            PlanError::Edits(_) => Self::InvalidEdit,
            PlanError::Stale(_) => Self::PlanChanged,
            PlanError::Superseded(_) => Self::PlanSuperseded,
            PlanError::Executed(_) => Self::PlanAlreadyExecuted,
            PlanError::NotExecutable(_) => Self::PlanNotExecutable,
            PlanError::Objects(_) => Self::StoreUnavailable,
            PlanError::Commit(CommitError::Rejected(_)) => Self::JobChanged,
            PlanError::Commit(CommitError::Store(error)) => error.as_ref().into(),
            PlanError::Commit(CommitError::Stopped) => Self::ShuttingDown,
        }
    }
}

impl From<&PlanError> for Problem {
    fn from(error: &PlanError) -> Self {
        let problem = Self::new(Code::from(error), error.to_string());
        match error {
            PlanError::Edits(errors) => {
                let errors = errors.iter().cloned().map(FieldError::from).collect();
                let detail = "an edit cannot work: see `errors`".to_owned();
                Self { detail, ..problem }.with_errors(errors)
            }
            PlanError::Stale(plan) | PlanError::Superseded(plan) => {
                problem.with_plan(RetryPlanDocument::linked((**plan).clone()))
            }
            PlanError::Objects(error) => {
                tracing::warn!(%error, "the objects of a plan could not be looked at");
                let detail = "the media store cannot be used at the moment; try again";
                Self::new(Code::StoreUnavailable, detail)
            }
            PlanError::Commit(error) => error.clone().into(),
            _ => problem,
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        (&error).into()
    }
}

impl From<EditError> for FieldError {
    fn from(error: EditError) -> Self {
        Self {
            code: Some(error.code.to_owned()),
            ..Self::new(error.pointer, error.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::CODES;

    #[test]
    fn the_reference_lists_every_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/http.md");
        let text = std::fs::read_to_string(file).unwrap();
        let mut table =
            "| status | code | what happened | what to do |\n|---|---|---|---|\n".to_owned();
        for (code, status, meaning, what_to_do) in CODES {
            let status = status.as_u16();
            table += &format!("| {status} | `{code}` | {meaning} | {what_to_do} |\n");
        }
        assert!(
            text.contains(&table),
            "docs/reference/http.md should hold\n\n{table}"
        );
    }
}
