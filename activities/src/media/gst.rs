//! GStreamer as the media tools use it: one stream of a file decoded into Rust, raw media fed
//! from Rust into encoders. Nothing here waits without watching for errors, and every pipeline
//! goes to NULL when its owner is dropped.
//!
//! Sources are hostile. The container is told by its bytes, its demuxer comes from a fixed list,
//! and behind it only parsers and decoders are plugged: nothing that can open another file or
//! address (playlists, DASH and HLS manifests) is ever started.

mod decode;
mod failure;
mod feed;

use gstreamer as gst;
use gstreamer::prelude::*;
use telecine_engine::activity::ErrorClass;

use super::super::tool::ToolError;

pub(crate) use super::demux::{element, init};
pub use decode::{DecodeRequest, Decoded, Decoder, StreamChoice, StreamKind, stream_time_ns};
pub use failure::{Failure, sort_encode_error};
pub use feed::Feed;

/// Frames that a queue between two threads holds. Two keep both busy; three cost 3 MiB more for a
/// 720p ladder and are no faster, eight 200 MiB for one of 1080p.
pub const QUEUE_BUFFERS: u32 = 2;

/// A queue between two threads that holds [`QUEUE_BUFFERS`].
///
/// # Errors
/// As [`element`].
pub fn queue() -> Result<gst::Element, ToolError> {
    let queue = element("queue")?;
    queue.set_property("max-size-buffers", QUEUE_BUFFERS);
    queue.set_property("max-size-bytes", 0_u32);
    queue.set_property("max-size-time", 0_u64);
    Ok(queue)
}

/// A filter that only lets `caps` pass.
///
/// # Errors
/// As [`element`].
pub fn caps_filter(caps: &gst::Caps) -> Result<gst::Element, ToolError> {
    let filter = element("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}

/// A pipeline that goes to NULL when dropped, on every path.
#[derive(Debug)]
pub struct Pipeline(gst::Pipeline);

impl Pipeline {
    /// An empty pipeline whose errors go to `failure`, as `sort` makes them.
    #[must_use]
    pub fn new(failure: &Failure, sort: fn(&gst::glib::Error) -> ToolError) -> Self {
        let pipeline = gst::Pipeline::new();
        if let Some(bus) = pipeline.bus() {
            failure.watch(&bus, sort);
        }
        Self(pipeline)
    }

    /// Adds elements and links them in order.
    ///
    /// # Errors
    /// `bug` if two of them do not fit.
    pub fn chain(&self, elements: &[&gst::Element]) -> Result<(), ToolError> {
        for element in elements {
            if element.parent().is_none() {
                self.0.add(*element).map_err(bug)?;
            }
        }
        gst::Element::link_many(elements.iter().copied()).map_err(bug)
    }

    /// Makes elements able to take data before anything starts to give some, last element first.
    ///
    /// A pipeline starts elements that are not linked yet in any order, and a demuxer whose first
    /// buffer meets one that is not ready stops without a word.
    ///
    /// # Errors
    /// `bug` if one of them cannot start.
    pub fn make_ready(&self, in_order: &[gst::Element]) -> Result<(), ToolError> {
        // Behind this, the pipeline takes no element back to a lower state.
        self.0.set_state(gst::State::Ready).map_err(bug)?;
        for element in in_order.iter().rev() {
            element.set_state(gst::State::Paused).map_err(bug)?;
        }
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// What an element said, or `bug`.
    pub fn play(&self, failure: &Failure) -> Result<(), ToolError> {
        let started = self.0.set_state(gst::State::Playing);
        failure.check()?;
        started.map(|_| ()).map_err(bug)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_state(gst::State::Null) {
            tracing::warn!(%error, "a pipeline could not be stopped");
        }
    }
}

/// The codec configuration in the caps of an encoder's output: `avcC`, `AudioSpecificConfig`.
///
/// # Errors
/// `bug` if there is none.
pub fn codec_data(sample: &gst::Sample) -> Result<Vec<u8>, ToolError> {
    let buffer = sample
        .caps()
        .and_then(|caps| caps.structure(0))
        .and_then(|format| format.get::<gst::Buffer>("codec_data").ok())
        .ok_or_else(|| bug("an encoder without codec data"))?;
    let data = buffer.map_readable().map_err(bug)?;
    Ok(data.to_vec())
}

/// An error that no input explains.
pub fn bug(error: impl std::fmt::Display) -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "pipeline_broken",
        format!("the media pipeline could not be built: {error}"),
    )
}
