use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::run::RecordedEvent;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::{IntoParams, ToSchema};

use super::Site;
use super::jobs::{header, page_size};
use super::request::{NamedJob, Parameters, invalid_parameter};
use crate::auth::Reader;
use crate::cursor::Cursor;
use crate::error::{Code, Problem, ProblemDocument};

/// Events of one page, and events read at a time for a stream.
const PAGE: usize = 1000;
/// How long a stream may be silent before it says that it is still there.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a caller waits for a stream when there are too many.
const STREAM_AGAIN: Duration = Duration::from_secs(5);
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
        return stream(site, job, after).await;
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
    let events = site.app.store().events(job, after, limit).await?;
    let last = events.last().map_or(after, |event| event.seq);
    let over = stopped && events.len() < limit;
    Ok(EventPage {
        next_cursor: (!over).then(|| Cursor::Event(last).to_string()),
        items: events.into_iter().map(EventDocument::from).collect(),
    })
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
    read.map(Some)
        .ok_or_else(|| invalid_parameter("Last-Event-ID is no number of an event"))
}

async fn stream(site: Arc<Site>, job: RunId, after: u64) -> Result<Response, Problem> {
    let permit = site.streams.clone().try_acquire_owned().map_err(|_| {
        let detail =
            "the server streams to as many as it does; ask for pages instead, or try again";
        Problem::new(Code::TooManyRequests, detail).retry_after(STREAM_AGAIN)
    })?;
    let changes = site.changes.listen();
    let stopped = header(&site, &job).await?.status.is_stopped();
    let mut follower = Follower {
        changes,
        site,
        job,
        after,
        unsent: VecDeque::new(),
        stopped,
        over: false,
        _permit: permit,
    };
    follower.look().await?;
    if follower.over && follower.unsent.is_empty() {
        // What browsers take for the end: they would ask again for ever.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = futures_util::stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE));
    // Proxies that collect what they pass on would hold events back.
    let unbuffered = [("x-accel-buffering", "no"), ("cache-control", "no-cache")];
    Ok((unbuffered, stream).into_response())
}

/// One stream of events.
struct Follower {
    site: Arc<Site>,
    job: RunId,
    changes: watch::Receiver<u64>,
    /// Number of the last event that was read.
    after: u64,
    unsent: VecDeque<RecordedEvent>,
    /// The job had stopped when it was last looked at.
    stopped: bool,
    /// The job has stopped, and nothing is behind what was read.
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event; `None` when the job has stopped, the process stops, or the database fails:
    /// the caller comes again, here or elsewhere.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.unsent.pop_front() {
                let event = EventDocument::from(event);
                let id = event.seq.to_string();
                return Event::default().id(id).json_data(event).ok();
            }
            if self.over {
                return None;
            }
            tokio::select! {
                () = self.site.stopping.cancelled() => return None,
                changed = self.changes.changed() => changed.ok()?,
            }
            self.look().await.ok()?;
        }
    }

    /// Reads what is new. A job stops with an event: as long as there is none, its state is not asked
    /// for, so that a look for nothing costs one read.
    async fn look(&mut self) -> Result<(), Problem> {
        // Seen from now on: what happens while this looks is looked at again.
        self.changes.borrow_and_update();
        while self.unsent.len() < PAGE {
            let store = self.site.app.store();
            let page = store.events(&self.job, self.after, PAGE).await?;
            let Some(last) = page.last() else {
                // Nothing came after it was seen to have stopped.
                self.over = self.stopped;
                return Ok(());
            };
            self.after = last.seq;
            self.unsent.extend(page);
            self.stopped = header(&self.site, &self.job).await?.status.is_stopped();
        }
        // The rest is read when this was sent.
        self.changes.mark_changed();
        Ok(())
    }
}
