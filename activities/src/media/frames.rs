//! Decoded pictures of one video stream, in order or at given times.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use telecine_engine::activity::ErrorClass;

use super::demux::{self, Kind, Watchdog};
use super::sniff::Container;
use crate::tool::ToolError;

/// Decoded frames that wait to be taken. Two: one to look at while the next is made.
const WAITING_FRAMES: u32 = 2;

/// A decoded frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// When it is shown, in stream time.
    pub(crate) time_ns: u64,
    // Not the sample: an appsink complains at a seek while anybody holds its last one.
    buffer: gst::Buffer,
    caps: gst::Caps,
}

impl Frame {
    /// Format of the picture.
    ///
    /// # Errors
    /// `decoder_broken`, class `bug`.
    pub(crate) fn info(&self) -> Result<gst_video::VideoInfo, ToolError> {
        gst_video::VideoInfo::from_caps(&self.caps).map_err(|error| broken(&error.message))
    }

    /// Whether it holds two fields of different moments.
    pub(crate) fn is_interlaced(&self) -> bool {
        let interlaced = gst_video::VideoBufferFlags::INTERLACED.bits();
        self.buffer.flags().bits() & interlaced != 0
    }
}

fn broken(why: &str) -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "decoder_broken",
        format!("a decoder gave a frame that cannot be used: {why}"),
    )
}

/// Which stream is decoded, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    /// Number among the video streams of the file.
    pub(crate) index: u32,
    /// Whether to make whole pictures from fields.
    pub(crate) deinterlace: bool,
}

/// Decodes one video stream of a file.
#[derive(Debug)]
pub(crate) struct FrameReader {
    pipeline: demux::Pipeline,
    sink: gst_app::AppSink,
}

impl FrameReader {
    /// Opens a stream at its start.
    ///
    /// # Errors
    /// `codec_unsupported`, those of the demuxer, `no_progress`.
    pub(crate) fn open(
        source: &Path,
        container: Container,
        selection: Selection,
    ) -> Result<Self, ToolError> {
        let sink = gst_app::AppSink::builder()
            .sync(false)
            .max_buffers(WAITING_FRAMES)
            .build();
        let end = sink.clone();
        let pipeline = demux::open(source, container, move |pipeline, offer| {
            if offer.kind != Kind::Video || offer.index != selection.index {
                return Ok(());
            }
            let mut chain: Vec<gst::Element> = demux::parser(&offer.caps)?.into_iter().collect();
            chain.extend(decoder_for(&offer.caps)?);
            if selection.deinterlace {
                chain.push(deinterlacer()?);
            }
            chain.push(end.clone().upcast());
            demux::attach(pipeline, &offer.pad, &chain)
        })?;
        // Before the start: a sink that is not started yet says that it is at its end.
        let added = pipeline.inner.add(&sink);
        added.map_err(|error| broken(&error.message))?;
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self { pipeline, sink })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// Those of the demuxer and the decoder, `no_progress`.
    pub(crate) fn read(&mut self) -> Result<Option<Frame>, ToolError> {
        let tick = gst::ClockTime::try_from(demux::TICK).unwrap_or(gst::ClockTime::SECOND);
        let mut watchdog = Watchdog::new();
        loop {
            if let Some(sample) = self.sink.try_pull_sample(tick) {
                if let Some(frame) = frame(&sample) {
                    return Ok(Some(frame));
                }
                continue;
            }
            self.pipeline.check()?;
            if self.sink.is_eos() {
                return Ok(None);
            }
            watchdog.check(0)?;
        }
    }

    /// The first frame that decodes after a seek to the keyframe at or before a time. Only after a
    /// frame was read. Its own time may be later than it should be: a decoder moves the frame
    /// that is shown at the time asked for to exactly there.
    ///
    /// # Errors
    /// `not_seekable`, and those of [`FrameReader::read`].
    pub(crate) fn seek(&mut self, time_ns: u64) -> Result<Option<Frame>, ToolError> {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        self.pipeline
            .inner
            .seek_simple(flags, gst::ClockTime::from_nseconds(time_ns))
            .map_err(|_| ToolError::input("not_seekable", "the source cannot be searched"))?;
        self.read()
    }
}

/// Nothing decodes.
pub(crate) fn no_frames() -> ToolError {
    ToolError::input(
        "no_frames",
        "no picture of the source's video can be decoded",
    )
}

fn frame(sample: &gst::Sample) -> Option<Frame> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let buffer = sample.buffer_owned()?;
    Some(Frame {
        time_ns: segment.to_stream_time(buffer.pts()?)?.nseconds(),
        buffer,
        caps: sample.caps_owned()?,
    })
}

/// The best installed decoder for a stream that needs no special hardware; `None` for raw streams.
fn decoder_for(caps: &gst::Caps) -> Result<Option<gst::Element>, ToolError> {
    if caps.structure(0).is_some_and(|s| s.name() == "video/x-raw") {
        return Ok(None);
    }
    let factory = decoder(caps).ok_or_else(|| {
        let name = caps.structure(0).map_or("unknown", |s| s.name().as_str());
        codec_unsupported(name)
    })?;
    let element = factory.create().build();
    element.map(Some).map_err(|error| broken(&error.message))
}

/// The error for a codec without an installed decoder.
pub(crate) fn codec_unsupported(codec: &str) -> ToolError {
    ToolError::input(
        "codec_unsupported",
        format!("no installed decoder reads {codec}; convert the source to a common codec"),
    )
}

/// The best installed decoder that runs on any machine. One that takes exactly these caps beats
/// one that might take them: `avdec_h263p` offers itself for H.263 and then refuses it.
pub(crate) fn decoder(caps: &gst::Caps) -> Option<gst::ElementFactory> {
    gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(caps))
        .filter(|factory| {
            factory
                .metadata("klass")
                .is_none_or(|klass| !klass.contains("Hardware"))
        })
        .max_by_key(|factory| (factory.can_sink_all_caps(caps), factory.rank()))
}

/// Whole pictures from fields, as many as there are frames.
fn deinterlacer() -> Result<gst::Element, ToolError> {
    let element = demux::element("deinterlace")?;
    element.set_property_from_str("mode", "auto");
    element.set_property_from_str("fields", "top");
    element.set_property_from_str("method", "greedyh");
    Ok(element)
}
