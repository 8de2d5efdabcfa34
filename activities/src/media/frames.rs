//! Decoded pictures of one video stream, in order or at given times.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use telecine_engine::activity::ErrorClass;

use super::demux::{self, Kind, Watchdog};
use super::sniff::Container;
use crate::tool::ToolError;

/// Decoded frames that wait to be taken. Two: one to look at while the next is made.
const WAITING_FRAMES: u32 = 2;

/// How far ahead a wanted time may be before seeking beats decoding up to it.
const SEEK_AHEAD_NS: u64 = 10_000_000_000;

/// In sources whose seeks are not exact, pictures up to this time are found by decoding from the
/// start; later ones by seeking, which may be off by a group of pictures.
const EXACT_WITHOUT_INDEX_NS: u64 = 60_000_000_000;

/// A decoded frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// When it is shown, in stream time.
    pub(crate) time_ns: u64,
    // Not the sample: an appsink complains at a seek while anybody holds its last one.
    /// The picture.
    pub(crate) buffer: gst::Buffer,
    /// Its format.
    pub(crate) caps: gst::Caps,
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
        self.buffer
            .video_flags()
            .contains(gst_video::VideoBufferFlags::INTERLACED)
    }
}

/// A frame that is not what it should be.
pub(crate) fn broken(why: &str) -> ToolError {
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
    /// Whether seeks land at or before the time asked for.
    pub(crate) exact_seeks: bool,
    /// Where the presentation starts in the demuxer's count of time.
    pub(crate) origin_ns: u64,
}

/// Decodes one video stream of a file.
#[derive(Debug)]
pub(crate) struct FrameReader {
    pipeline: demux::Pipeline,
    sink: gst_app::AppSink,
    container: Container,
    exact_seeks: bool,
    origin_ns: u64,
    /// The frame that was last asked for, and the one behind it if it was read.
    shown: Option<Frame>,
    next: Option<Frame>,
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
                chain.extend([demux::element("videoconvert")?, deinterlacer()?]);
            }
            chain.push(end.clone().upcast());
            demux::attach(pipeline, &offer.pad, &chain)
        })?;
        // Before the start: a sink that is not started yet says that it is at its end.
        let added = pipeline.inner.add(&sink);
        added.map_err(|error| broken(&error.message))?;
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self {
            pipeline,
            sink,
            container,
            exact_seeks: selection.exact_seeks,
            origin_ns: selection.origin_ns,
            shown: None,
            next: None,
        })
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
                if let Some(frame) = self.frame(&sample) {
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

    fn frame(&self, sample: &gst::Sample) -> Option<Frame> {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let buffer = sample.buffer_owned()?;
        let time = demux::stream_time(self.container, segment, buffer.pts()?)?;
        Some(Frame {
            time_ns: time.nseconds().saturating_sub(self.origin_ns),
            buffer,
            caps: sample.caps_owned()?,
        })
    }

    /// The frame that is shown at a time: the last one that begins at or before it, or the first
    /// of the video. Times may come in any order; ascending ones cost one decode.
    ///
    /// # Errors
    /// `no_frames` if nothing decodes, and those of [`FrameReader::read`].
    pub(crate) fn at(&mut self, time_ns: u64) -> Result<Frame, ToolError> {
        if self.shown.is_none() {
            self.shown = self.read()?;
        }
        self.approach(time_ns)?;
        while let Some(next) = self.peek()? {
            if next.time_ns > time_ns {
                break;
            }
            self.shown = self.next.take();
        }
        self.shown.clone().ok_or_else(no_frames)
    }

    fn peek(&mut self) -> Result<Option<&Frame>, ToolError> {
        if self.next.is_none() {
            self.next = self.read()?;
        }
        Ok(self.next.as_ref())
    }

    /// Seeks if that is better than reading on from here.
    fn approach(&mut self, time_ns: u64) -> Result<(), ToolError> {
        let here = self.shown.as_ref().map_or(0, |frame| frame.time_ns);
        let by_index = self.exact_seeks || time_ns > EXACT_WITHOUT_INDEX_NS;
        if here > time_ns || (by_index && time_ns - here > SEEK_AHEAD_NS) {
            let targets = if by_index {
                [time_ns, time_ns.saturating_sub(SEEK_AHEAD_NS), 0]
            } else {
                [0; 3]
            };
            // A seek may land behind the time it was asked for: then from further ahead.
            for target in targets {
                self.next = None;
                self.shown = self.seek(target)?;
                if self.shown.as_ref().is_some_and(|s| s.time_ns <= time_ns) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The keyframe at or before a time, which costs one seek and one decoded frame; further times
    /// are read from there. Only where seeks are exact.
    ///
    /// # Errors
    /// `no_frames` if nothing decodes, `not_seekable`, and those of [`FrameReader::read`].
    pub(crate) fn keyframe_before(&mut self, time_ns: u64) -> Result<Frame, ToolError> {
        if self.shown.is_none() {
            // A pipeline takes seeks once it has given something.
            self.shown = self.read()?;
        }
        self.next = None;
        self.shown = self.seek(time_ns)?;
        match &self.shown {
            Some(frame) => Ok(frame.clone()),
            None => self.at(time_ns),
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
            .seek_simple(
                flags,
                gst::ClockTime::from_nseconds(self.origin_ns + time_ns),
            )
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

/// The best installed decoder for a stream that needs no special hardware; `None` for raw streams.
fn decoder_for(caps: &gst::Caps) -> Result<Option<gst::Element>, ToolError> {
    if is_raw(caps) {
        return Ok(None);
    }
    let factory = decoder(caps).ok_or_else(|| codec_unsupported("this codec"))?;
    let element = factory.create().build();
    element.map(Some).map_err(|error| broken(&error.message))
}

/// Whether something installed decodes a stream of video or audio.
pub(crate) fn is_decodable(caps: &gst::Caps) -> bool {
    is_raw(caps) || decoder(caps).is_some()
}

fn is_raw(caps: &gst::CapsRef) -> bool {
    caps.structure(0)
        .is_some_and(|structure| structure.name().ends_with("/x-raw"))
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
    /// Refuses JPEG 2000 out of MOV, which libav decodes (GStreamer 1.22).
    const REFUSING: &str = "openjpegdec";
    let caps = &demux::opaque(caps);
    gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(caps) && factory.name() != REFUSING)
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
    element.set_property_from_str("mode", "auto-strict");
    element.set_property_from_str("fields", "top");
    element.set_property_from_str("method", "greedyl");
    Ok(element)
}
