use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::{VideoFormat as VideoFormatId, VideoFrameFlags, VideoMeta};
use telecine_engine::activity::ErrorClass;

use super::{VideoFormat, VideoFrame};
use crate::media::gst::{Failure, Feed, Pipeline, bug, element, init, queue, sort_encode_error};
use crate::media::report::Size;
use crate::tool::ToolError;

/// How often the end is waited for before somebody looks whether the pipeline has failed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Quantizer of x264, the same for each frame: so fine that a later encode does not show it.
const QUANTIZER: u32 = 12;

/// Frames between keyframes: an encode that is resumed begins with one.
const KEYFRAME_INTERVAL: u32 = 48;

/// Nanoseconds of a tick of the container. Its own count of milliseconds would round the times of
/// frames whose rate varies; with much less than this, its clusters become shorter than a second.
const TICK_NS: i64 = 100_000;

/// Writes frames as a file of high quality that only later steps read: H.264 in Matroska, which
/// keeps the time of each frame as it is, also when the first is late.
#[derive(Debug)]
pub struct VideoWriter {
    // Dropped first: its threads use what follows.
    pipeline: Pipeline,
    feed: Feed,
    failure: Failure,
    ended: Receiver<()>,
    size: Size,
}

impl VideoWriter {
    /// Starts a file, whose name should end with `.mkv`.
    ///
    /// # Errors
    /// `config` if a plugin is missing; class `resource` if there is no room.
    pub fn create(file: &Path, format: &VideoFormat) -> Result<Self, ToolError> {
        init()?;
        let failure = Failure::default();
        let pipeline = Pipeline::new(&failure, sort_error);
        let mut caps = format.caps(&[VideoFormatId::I420]);
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.set("framerate", format.rate);
            structure.set("colorimetry", format.colorimetry.to_string());
        }
        let feed = Feed::new(&caps, &failure);
        let muxer = element("matroskamux")?;
        muxer.set_property("timecodescale", TICK_NS);
        let sink = element("filesink")?;
        sink.set_property("location", file);
        // What it would gather, it would write after its end is noticed, and being stopped meanwhile is an error to it.
        sink.set_property_from_str("buffer-mode", "unbuffered");
        let ended = notice_end(&sink)?;
        let parser = element("h264parse")?;
        pipeline.chain(&[
            feed.element(),
            &queue()?,
            &encoder()?,
            &parser,
            &muxer,
            &sink,
        ])?;
        pipeline.play(&failure)?;
        Ok(Self {
            pipeline,
            feed,
            failure,
            ended,
            size: format.size(),
        })
    }

    /// Adds a frame, later than the one before.
    ///
    /// # Errors
    /// What failed in the encoder or in writing.
    pub fn push(&mut self, frame: VideoFrame) -> Result<(), ToolError> {
        let at = gst::ClockTime::from_nseconds(frame.at_ns);
        let mut buffer = pack(frame, self.size)?;
        buffer.make_mut().set_pts(at);
        self.feed.push(buffer)
    }

    /// Writes what is left; the file is whole when this returns.
    ///
    /// # Errors
    /// As [`VideoWriter::push`].
    pub fn finish(self) -> Result<(), ToolError> {
        self.feed.end()?;
        loop {
            match self.ended.recv_timeout(CHECK_INTERVAL) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) => self.failure.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(bug("the file has no end")),
            }
        }
        // Stopping closes the file.
        drop(self.pipeline);
        self.failure.check()
    }
}

/// Puts planes behind each other. Rows have no padding, so the buffer says where each begins.
fn pack(frame: VideoFrame, size: Size) -> Result<gst::Buffer, ToolError> {
    let [luma, cb, cr] = frame.planes;
    let (at_cb, at_cr) = (luma.points.len(), luma.points.len() + cb.points.len());
    let strides = [luma.width, cb.width, cr.width].map(|width| width as i32);
    let mut buffer = gst::Buffer::from_mut_slice([luma.points, cb.points, cr.points].concat());
    VideoMeta::add_full(
        buffer.make_mut(),
        VideoFrameFlags::empty(),
        VideoFormatId::I420,
        size.width,
        size.height,
        &[0, at_cb, at_cr],
        &strides,
    )
    .map_err(bug)?;
    Ok(buffer)
}

fn encoder() -> Result<gst::Element, ToolError> {
    let encoder = element("x264enc")?;
    encoder.set_property_from_str("speed-preset", "superfast");
    encoder.set_property_from_str("pass", "quant");
    encoder.set_property("quantizer", QUANTIZER);
    encoder.set_property("key-int-max", KEYFRAME_INTERVAL);
    encoder.set_property("bframes", 0_u32);
    Ok(encoder)
}

/// Tells when everything has been written.
fn notice_end(sink: &gst::Element) -> Result<Receiver<()>, ToolError> {
    let (end, ended) = channel();
    let pad = sink.static_pad("sink").ok_or_else(|| bug("no sink pad"))?;
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Eos)
        {
            // Nobody waits for it after a failure.
            let _ = end.send(());
        }
        gst::PadProbeReturn::Ok
    });
    Ok(ended)
}

fn sort_error(error: &gst::glib::Error) -> ToolError {
    if error.matches(gst::ResourceError::NoSpaceLeft) {
        let message = "the scratch disk is full: free some space";
        return ToolError::new(ErrorClass::Resource, "disk_full", message);
    }
    sort_encode_error(error)
}
