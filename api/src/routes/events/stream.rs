//! Server-sent events: what is new, as it comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use telecine_engine::id::RunId;
use telecine_engine::store::FeedPlace;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{EventDocument, FeedDocument, PAGE};
use crate::cursor::Cursor;
use crate::error::{Code, Problem};
use crate::routes::Site;
use crate::routes::jobs::header;

/// How long a stream may be silent before it says that it is still there.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a caller waits for a stream when there are too many.
const STREAM_AGAIN: Duration = Duration::from_secs(5);

/// Something with events, of which a stream has read those up to a place.
pub(super) trait Followed: Send + 'static {
    /// Reads the next page. With fewer events than a page has, there are no more for now.
    fn read(&mut self, site: &Site) -> impl Future<Output = Result<Vec<Event>, Problem>> + Send;

    /// Whether nothing will come any more, once a page had nothing.
    fn is_over(&self) -> bool;
}

/// The events of a job.
pub(super) struct OfJob {
    job: RunId,
    /// Number of the last event that was read.
    after: u64,
    /// The job had stopped when it was last looked at.
    stopped: bool,
}

impl OfJob {
    pub(super) async fn begin(site: &Site, job: RunId, after: u64) -> Result<Self, Problem> {
        let stopped = header(site, &job).await?.status.is_stopped();
        Ok(Self {
            job,
            after,
            stopped,
        })
    }
}

impl Followed for OfJob {
    /// A job stops with an event: as long as there is none, its state is not asked for, so that a look for
    /// nothing costs one read.
    async fn read(&mut self, site: &Site) -> Result<Vec<Event>, Problem> {
        let store = site.app.visitors();
        let page = store.events(&self.job, self.after, PAGE).await?;
        if let Some(last) = page.last() {
            self.after = last.seq;
            self.stopped = header(site, &self.job).await?.status.is_stopped();
        }
        let events = page.into_iter().map(EventDocument::from);
        events
            .map(|event| {
                let id = event.seq.to_string();
                let event = Event::default().id(id).json_data(event);
                event.map_err(Problem::internal)
            })
            .collect()
    }

    fn is_over(&self) -> bool {
        self.stopped
    }
}

/// The events of all jobs behind a place.
pub(super) struct OfAll(pub(super) FeedPlace);

impl Followed for OfAll {
    async fn read(&mut self, site: &Site) -> Result<Vec<Event>, Problem> {
        let page = site.app.visitors().feed(self.0, PAGE).await?;
        self.0 = page.last().map_or(self.0, |event| event.place);
        page.into_iter()
            .map(|event| {
                let id = Cursor::Feed(event.place).to_string();
                let event = Event::default().id(id).json_data(FeedDocument::from(event));
                event.map_err(Problem::internal)
            })
            .collect()
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// Answers with a stream of what is behind a place; with 204 if nothing is and nothing will be.
pub(super) async fn stream(site: Arc<Site>, followed: impl Followed) -> Result<Response, Problem> {
    let permit = site.streams.clone().try_acquire_owned().map_err(|_| {
        let detail =
            "the server streams to as many as it does; ask for pages instead, or try again";
        Problem::new(Code::TooManyRequests, detail).retry_after(STREAM_AGAIN)
    })?;
    let mut follower = Follower {
        changes: site.changes.listen(),
        site,
        followed,
        unsent: VecDeque::new(),
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
struct Follower<F> {
    site: Arc<Site>,
    followed: F,
    changes: watch::Receiver<u64>,
    unsent: VecDeque<Event>,
    /// Nothing is behind what was read, and nothing will be.
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl<F: Followed> Follower<F> {
    /// The next event; `None` when there are no more, the process stops, or the database fails: the caller
    /// comes again, here or elsewhere.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.unsent.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                () = self.site.closing.cancelled() => return None,
                changed = self.changes.changed() => changed.ok()?,
            }
            self.look().await.ok()?;
        }
    }

    /// Reads what is new.
    async fn look(&mut self) -> Result<(), Problem> {
        // Seen from now on: what happens while this looks is looked at again.
        self.changes.borrow_and_update();
        while self.unsent.len() < PAGE {
            let page = self.followed.read(&self.site).await?;
            if page.is_empty() {
                self.over = self.followed.is_over();
                return Ok(());
            }
            self.unsent.extend(page);
        }
        // The rest is read when this was sent.
        self.changes.mark_changed();
        Ok(())
    }
}
