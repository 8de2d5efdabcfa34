mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::run::RecordedEvent;
use telecine_engine::store::{FeedEvent, FeedPlace};
use utoipa::{IntoParams, ToSchema};

use super::Site;
use super::jobs::{header, page_size};
use super::request::{NamedJob, Parameters, invalid_parameter};
use crate::auth::Reader;
use crate::cursor::Cursor;
use crate::error::{Problem, ProblemDocument};
use stream::{OfAll, OfJob, stream};

/// Events of one page, and events read at a time for a stream.
const PAGE: usize = 1000;
/// Where a stream that broke off goes on.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParameters {
    /// At most so many, up to 1000; not for a stream.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A page of a job's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventPage {
    items: Vec<EventDocument>,
    /// For the next page, which may be empty; null if nothing more can come.
    next_cursor: Option<String>,
}

/// One change of state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventDocument {
    /// Its number in the job's history, from 1 and without gaps.
    seq: u64,
    at: DateTime<Utc>,
    /// What happened: `step.claimed`.
    kind: String,
    /// To which step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    step: Option<StepId>,
    /// Facts of that kind of event.
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

impl From<RecordedEvent> for EventDocument {
    fn from(recorded: RecordedEvent) -> Self {
        Self {
            seq: recorded.seq,
            at: recorded.at,
            kind: recorded.event.kind,
            step: recorded.event.step,
            data: recorded.event.data,
        }
    }
}

/// The history of a job.
///
/// As a page of JSON; or, with `Accept: text/event-stream`, as a stream of server-sent events that
/// goes on until the job stops. The id of each is its number; `Last-Event-ID` resumes behind it.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/events",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event that a stream had."),
        EventParameters,
    ),
    responses(
        (status = 200, description = "Events.", content(
            (EventPage = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 204, description = "The job has stopped, and there is nothing behind `Last-Event-ID`."),
        (status = "4XX", description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedJob(job): NamedJob,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match parameters.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(Cursor::Event(seq))) => seq,
        Some(_) => return Err(invalid_parameter("the cursor is of another list")),
    };
    if wants_stream(&headers) {
        let after = last_event(&headers)?.unwrap_or(after);
        let followed = OfJob::begin(&site, job, after).await?;
        return stream(site, followed).await;
    }
    let limit = page_size(parameters.limit, PAGE)?;
    let page = page(&site, &job, (after, limit)).await?;
    Ok(axum::Json(page).into_response())
}

async fn page(
    site: &Site,
    job: &RunId,
    (after, limit): (u64, usize),
) -> Result<EventPage, Problem> {
    // Asked before the events are read, so that none of a stopped job is missed.
    let stopped = header(site, job).await?.status.is_stopped();
    let events = site.app.visitors().events(job, after, limit).await?;
    let last = events.last().map_or(after, |event| event.seq);
    let over = stopped && events.len() < limit;
    Ok(EventPage {
        next_cursor: (!over).then(|| Cursor::Event(last).to_string()),
        items: events.into_iter().map(EventDocument::from).collect(),
    })
}

/// Where a page of the feed, or a stream of it, begins.
fn place(text: &str) -> Option<FeedPlace> {
    match text.parse() {
        Ok(Cursor::Feed(place)) => Some(place),
        _ => None,
    }
}

/// An event of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedDocument {
    /// Whose it is.
    #[schema(value_type = String)]
    job: RunId,
    #[serde(flatten)]
    event: EventDocument,
}

impl From<FeedEvent> for FeedDocument {
    fn from(event: FeedEvent) -> Self {
        Self {
            job: event.run,
            event: event.recorded.into(),
        }
    }
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedPage {
    items: Vec<FeedDocument>,
    /// For the next page, which may be empty until something happens.
    next_cursor: String,
}

/// The history of all jobs.
///
/// In the order in which it was committed; that of each job in its own. As pages of JSON that begin with
/// the oldest event; or, with `Accept: text/event-stream`, as a stream of server-sent events that begins
/// with what happens next and never ends. `Last-Event-ID`, or a `cursor`, resumes either of them.
#[utoipa::path(
    get,
    path = "/api/events",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that a stream had."),
        EventParameters,
    ),
    responses(
        (status = 200, description = "Events.", content(
            (FeedPage = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = "4XX", description = "A parameter cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn feed(
    State(site): State<Arc<Site>>,
    _: Reader,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let other = || invalid_parameter("the cursor is of another list");
    let asked = parameters.cursor.as_deref();
    let asked = asked
        .map(|text| place(text).ok_or_else(other))
        .transpose()?;
    if wants_stream(&headers) {
        let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok());
        let last = last.map(|id| id.and_then(|id| place(id.trim())).ok_or_else(not_an_event));
        let after = match last.transpose()?.or(asked) {
            Some(after) => after,
            None => site.app.visitors().feed_end().await?,
        };
        return stream(site, OfAll(after)).await;
    }
    let limit = page_size(parameters.limit, PAGE)?;
    let after = asked.unwrap_or_default();
    let events = site.app.visitors().feed(after, limit).await?;
    let last = events.last().map_or(after, |event| event.place);
    let page = FeedPage {
        next_cursor: Cursor::Feed(last).to_string(),
        items: events.into_iter().map(FeedDocument::from).collect(),
    };
    Ok(axum::Json(page).into_response())
}

fn not_an_event() -> Problem {
    invalid_parameter("Last-Event-ID is the id of no event here")
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"))
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let read = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    read.map(Some).ok_or_else(not_an_event)
}
