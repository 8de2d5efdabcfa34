//! Raw media from Rust into a pipeline, with back pressure.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSrc, AppSrcCallbacks};

use super::super::super::tool::ToolError;
use super::{Failure, QUEUE_BUFFERS, bug};

/// How often a waiting [`Feed`] looks whether the pipeline has failed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The head of an encoding pipeline. Its buffers carry times from 0 in an unchanged segment, so
/// running time, stream time and timestamps are the same everywhere behind it.
#[derive(Debug)]
pub struct Feed {
    source: AppSrc,
    room: Arc<Room>,
    failure: Failure,
}

/// Whether the pipeline takes more.
#[derive(Debug, Default)]
struct Room {
    full: Mutex<bool>,
    changed: Condvar,
}

impl Room {
    fn set(&self, full: bool) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = full;
        self.changed.notify_all();
    }
}

impl Feed {
    /// A source of media described by `caps`.
    #[must_use]
    pub fn new(caps: &gst::Caps, failure: &Failure) -> Self {
        Self::with_format(caps, gst::Format::Time, failure)
    }

    /// A source of the bytes of a file in order, for a demuxer.
    #[must_use]
    pub fn bytes(caps: &gst::Caps, failure: &Failure) -> Self {
        Self::with_format(caps, gst::Format::Bytes, failure)
    }

    fn with_format(caps: &gst::Caps, format: gst::Format, failure: &Failure) -> Self {
        let room = Arc::new(Room::default());
        let (filled, drained) = (room.clone(), room.clone());
        let callbacks = AppSrcCallbacks::builder()
            .enough_data(move |_| filled.set(true))
            .need_data(move |_, _| drained.set(false))
            .build();
        let source = AppSrc::builder()
            .caps(caps)
            .format(format)
            .max_bytes(0)
            .max_buffers(QUEUE_BUFFERS.into())
            .min_percent(50)
            .callbacks(callbacks)
            .build();
        Self {
            source,
            room,
            failure: failure.clone(),
        }
    }

    /// The element to link.
    #[must_use]
    pub fn element(&self) -> &gst::Element {
        self.source.upcast_ref()
    }

    /// Hands a buffer over, waiting for room.
    ///
    /// # Errors
    /// The failure of the pipeline, if it has failed.
    pub fn push(&self, buffer: gst::Buffer) -> Result<(), ToolError> {
        self.wait_for_room()?;
        let pushed = self.source.push_buffer(buffer);
        self.failure.check()?;
        pushed.map(|_| ()).map_err(bug)
    }

    /// Sends an event in order with the buffers.
    pub fn event(&self, event: gst::Event) {
        self.source.send_event(event);
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// The failure of the pipeline, if it has failed.
    pub fn end(&self) -> Result<(), ToolError> {
        let ended = self.source.end_of_stream();
        self.failure.check()?;
        ended.map(|_| ()).map_err(bug)
    }

    fn wait_for_room(&self) -> Result<(), ToolError> {
        let mut full = self
            .room
            .full
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *full {
            self.failure.check()?;
            let waited = self.room.changed.wait_timeout(full, CHECK_INTERVAL);
            full = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.failure.check()
    }
}
