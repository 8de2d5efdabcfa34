//! The encoding pipeline: one source, a cascade of scalers, one encoder for each rendition.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gstreamer_video::{DownstreamForceKeyUnitEvent, VideoInfo, VideoInterlaceMode};

use super::colour::{Colours, limit};
use super::gate::{Reordering, output_frame_rate};
use super::level::level;
use super::spec::{RungWork, SourceFacts, Spec};
use super::writer::{RungWriter, Timeline};
use crate::media::encoded::{Encoded, Outbox, ns_of};
use crate::media::gst::{
    Failure, Feed, Pipeline, bug, caps_filter, element, queue, sort_encode_error,
};
use crate::media::report::Ratio;
use crate::media::tone;
use crate::tool::ToolError;

/// How often a waiting thread looks whether the pipeline has failed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Length of the rate buffer in milliseconds: twice the cap, as HLS packagers allow.
const VBV_MS: u32 = 2000;

/// Keyframes come where segments begin, and where the encoder sees a new scene.
const NO_KEYFRAME_INTERVAL: u32 = 100_000;

/// Added to every time that the encoders see. x264enc moves times below 1000 hours up to there,
/// but not its segment (GStreamer 1.22): it then takes each forced keyframe after the first for
/// one that was made already, and leaves it out. Times that begin there are not moved.
pub(super) const SHIFT_NS: u64 = 1000 * 3600 * 1_000_000_000;

/// The running encoders of a ladder.
#[derive(Debug)]
pub(super) struct Ladder {
    // Dropped first: its threads use what follows.
    _pipeline: Pipeline,
    feed: Feed,
    failure: Failure,
    timescale: u32,
    running: Arc<Running>,
}

/// How many encoders have not ended yet.
#[derive(Debug)]
struct Running {
    encoders: Mutex<usize>,
    changed: Condvar,
}

impl Ladder {
    /// Builds and starts the encoders of every unfinished rendition for frames of a format.
    ///
    /// # Errors
    /// `config` if a plugin is missing.
    pub(super) fn start(
        spec: &Spec,
        info: &VideoInfo,
        failure: &Failure,
        events: &Sender<Encoded>,
    ) -> Result<Self, ToolError> {
        let pipeline = Pipeline::new(failure, sort_encode_error);
        let said = tone::shown(&spec.facts.colour);
        let colours = Colours::of(info, &said, stored_height(spec, info));
        let feed = Feed::new(&frame_caps(spec, info, &colours), failure);
        let running = Arc::new(Running {
            encoders: Mutex::new(spec.unfinished().count()),
            changed: Condvar::new(),
        });
        let mut above = feed.element().clone();
        for (place, work) in spec.unfinished().enumerate() {
            let sink = encoder_sink(spec, work, &colours, (failure, &running, events));
            let step = Step {
                spec,
                work,
                colours: &colours,
                failure,
                largest: place == 0,
            };
            above = step.build(&pipeline, &above, &sink)?;
        }
        pipeline.play(failure)?;
        Ok(Self {
            _pipeline: pipeline,
            feed,
            failure: failure.clone(),
            timescale: spec.timescale,
            running,
        })
    }

    /// Encodes a frame that is shown at `ticks`. It has the format that the ladder was started for.
    ///
    /// # Errors
    /// What failed in an encoder or in writing a segment.
    pub(super) fn push(
        &self,
        mut frame: gst::Buffer,
        ticks: u64,
        keyframe: bool,
    ) -> Result<(), ToolError> {
        let at = shifted(ticks, self.timescale);
        let header = frame.make_mut();
        header.set_pts(at);
        header.set_dts(gst::ClockTime::NONE);
        header.set_duration(gst::ClockTime::NONE);
        if keyframe {
            self.feed.event(
                DownstreamForceKeyUnitEvent::builder()
                    .timestamp(at)
                    .stream_time(at)
                    .running_time(at)
                    .all_headers(true)
                    .build(),
            );
        }
        self.feed.push(frame)
    }

    /// Lets the encoders end and waits until every segment is written, calling `meanwhile` now
    /// and then.
    ///
    /// # Errors
    /// What failed in an encoder or in writing a segment.
    pub(super) fn finish(&self, mut meanwhile: impl FnMut()) -> Result<(), ToolError> {
        self.feed.end()?;
        while self.running.wait() {
            self.failure.check()?;
            meanwhile();
        }
        self.failure.check()
    }
}

impl Running {
    /// Waits a moment; false when all encoders have ended.
    fn wait(&self) -> bool {
        let left = self.lock();
        if *left > 0 {
            let waited = self.changed.wait_timeout(left, CHECK_INTERVAL);
            return *waited.unwrap_or_else(PoisonError::into_inner).0 > 0;
        }
        false
    }

    /// Notes that an encoder has ended.
    fn end_one(&self) {
        *self.lock() -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.encoders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes decoded frames progressive and upright.
///
/// # Errors
/// `config` if a plugin is missing.
pub(crate) fn upright_filters(facts: &SourceFacts) -> Result<Vec<gst::Element>, ToolError> {
    let mut filters = Vec::new();
    if facts.interlaced {
        // The deinterlacer takes 8-bit formats only, and makes whoever is before it give them.
        filters.extend([queue()?, element("videoconvert")?, deinterlacer()?]);
    }
    if let Some(direction) = direction(facts) {
        let flip = element("videoflip")?;
        flip.set_property_from_str("video-direction", direction);
        filters.extend([queue()?, element("videoconvert")?, flip]);
    }
    Ok(filters)
}

/// One frame for each frame of two fields. `greedyl` looks at motion and comes within 33 dB of the
/// progressive original. Not so others (1.22): `greedyh` mixes up the lines of planar pictures
/// (10 dB), `yadif` gives the first two frames the same time and none the last, and `linear`
/// halves the detail of still parts.
fn deinterlacer() -> Result<gst::Element, ToolError> {
    let deinterlacer = element("deinterlace")?;
    // What it does not know, `auto` passes on with the lines of two fields in one picture.
    deinterlacer.set_property_from_str("mode", "auto-strict");
    deinterlacer.set_property_from_str("fields", "top");
    deinterlacer.set_property_from_str("method", "greedyl");
    Ok(deinterlacer)
}

/// The turn that makes a picture upright: rotated clockwise, then mirrored left to right.
fn direction(facts: &SourceFacts) -> Option<&'static str> {
    match (facts.rotation, facts.mirrored) {
        (0, false) => None,
        (90, false) => Some("90r"),
        (180, false) => Some("180"),
        (_, false) => Some("90l"),
        (0, true) => Some("horiz"),
        (90, true) => Some("ul-lr"),
        (180, true) => Some("vert"),
        (_, true) => Some("ur-ll"),
    }
}

/// Caps of decoded frames as the encoders are to see them: progressive, with square pixels (the
/// ladder's sizes have the pixel aspect in them), a known rate and known colours, whatever the
/// container said. So the parameter sets are equal in all chunks.
fn frame_caps(spec: &Spec, info: &VideoInfo, colours: &Colours) -> gst::Caps {
    let rate = frame_rate(&spec.facts);
    gst::Caps::builder("video/x-raw")
        .field("format", info.format().to_str())
        .field("width", info.width() as i32)
        .field("height", info.height() as i32)
        .field("framerate", rate)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("interlace-mode", VideoInterlaceMode::Progressive.to_str())
        .field("colorimetry", colours.source.to_string())
        .build()
}

/// Height of the source's pictures before they were turned upright.
fn stored_height(spec: &Spec, info: &VideoInfo) -> u32 {
    match spec.facts.rotation {
        90 | 270 => info.width(),
        _ => info.height(),
    }
}

/// The rate that the encoders are told; 0 where it varies.
fn frame_rate(facts: &SourceFacts) -> gst::Fraction {
    let Ratio { num, den } = output_frame_rate(facts.frame_rate);
    match (i32::try_from(num), i32::try_from(den)) {
        (Ok(num), Ok(den)) if !facts.variable_frame_rate => gst::Fraction::new(num, den),
        _ => gst::Fraction::new(0, 1),
    }
}

/// One step of the cascade.
struct Step<'a> {
    spec: &'a Spec,
    work: &'a RungWork,
    colours: &'a Colours,
    failure: &'a Failure,
    largest: bool,
}

impl Step<'_> {
    /// Adds scaler, tee and encoder of a rendition behind `above`; returns its tee.
    fn build(
        &self,
        pipeline: &Pipeline,
        above: &gst::Element,
        sink: &AppSink,
    ) -> Result<gst::Element, ToolError> {
        let (scale, sized) = (self.scaler()?, caps_filter(&self.caps())?);
        let tee = element("tee")?;
        if self.largest {
            pipeline.chain(&[above, &scale, &sized, &tee])?;
        } else {
            pipeline.chain(&[above, &queue()?, &scale, &sized, &tee])?;
        }
        if self.largest && self.colours.full_range {
            self.limit_levels(&tee)?;
        }
        let ready = queue()?;
        self.hold_back_durable(&ready)?;
        pipeline.chain(&[&tee, &ready, &self.encoder()?, sink.upcast_ref()])?;
        Ok(tee)
    }

    /// Catmull-Rom, GStreamer's bicubic. From the larger rendition to the next it costs 1.06
    /// times the CPU of one ffmpeg; each from the source, 1.16 times.
    fn scaler(&self) -> Result<gst::Element, ToolError> {
        let scaler = element("videoconvertscale")?;
        scaler.set_property_from_str("method", "catrom");
        scaler.set_property("n-threads", 1_u32);
        scaler.set_property("add-borders", false);
        if self.largest && self.colours.converts_gamut() {
            scaler.set_property_from_str("primaries-mode", "fast");
        }
        Ok(scaler)
    }

    fn caps(&self) -> gst::Caps {
        let size = self.work.rung.size;
        gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", size.width as i32)
            .field("height", size.height as i32)
            .field("framerate", frame_rate(&self.spec.facts))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .field("colorimetry", self.colours.output.to_string())
            .build()
    }

    /// Brings frames to limited range before they reach this and all smaller renditions.
    fn limit_levels(&self, tee: &gst::Element) -> Result<(), ToolError> {
        let info = VideoInfo::from_caps(&self.caps()).map_err(bug)?;
        let failure = self.failure.clone();
        let pad = tee.static_pad("sink").ok_or_else(|| bug("no sink pad"))?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probed| {
            if let Some(buffer) = probed.buffer_mut()
                && let Err(error) = limit(buffer, &info)
            {
                failure.set(bug(error));
            }
            gst::PadProbeReturn::Ok
        });
        Ok(())
    }

    /// x264 with a constant rate factor under a cap: in this mode `bitrate` is the cap.
    fn encoder(&self) -> Result<gst::Element, ToolError> {
        let rung = &self.work.rung;
        let encoder = element("x264enc")?;
        set_preset(&encoder, &rung.preset)?;
        encoder.set_property_from_str("pass", "qual");
        encoder.set_property("quantizer", rung.crf.min(50));
        encoder.set_property("bitrate", rung.max_kbps.max(1));
        encoder.set_property("vbv-buf-capacity", VBV_MS);
        encoder.set_property("key-int-max", NO_KEYFRAME_INTERVAL);
        encoder.set_property("aud", false);
        // The encoders of the other renditions keep the cores busy: a thread that looks ahead would
        // only hold frames (24 MiB at 720p) and cost 3 % CPU.
        encoder.set_property("sync-lookahead", 0);
        if self.spec.facts.variable_frame_rate {
            let rate = output_frame_rate(self.spec.facts.frame_rate);
            let level = level(rung, rate, VBV_MS);
            encoder.set_property("option-string", format!("level={level}"));
        }
        match Reordering::of(&self.spec.facts, self.spec.timescale).frames {
            0 => encoder.set_property("bframes", 0_u32),
            1 => encoder.set_property("b-pyramid", false),
            _ => {}
        }
        Ok(encoder)
    }

    /// Keeps frames of segments that are durable from the encoder, and their keyframe requests:
    /// the encoder meets one with each frame, so those left over would each cost a keyframe.
    fn hold_back_durable(&self, queue: &gst::Element) -> Result<(), ToolError> {
        let place = self.spec.place(self.work);
        if Some(place) == self.spec.first_segment() {
            return Ok(());
        }
        let start_ticks = Timeline::of(self.spec).starts[place];
        let from = shifted(start_ticks, self.spec.timescale);
        let pad = queue.static_pad("sink").ok_or_else(|| bug("no sink pad"))?;
        let flow = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(flow, move |_, info| match time_of(info) {
            // `Drop` does the same, but the core (1.22) then complains of every frame.
            Some(at) if at < from => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        });
        Ok(())
    }
}

/// Ticks as the encoders see them.
fn shifted(ticks: u64, timescale: u32) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(SHIFT_NS + ns_of(ticks, timescale))
}

/// The time of a frame, or of the frame that is to be a keyframe.
fn time_of(info: &gst::PadProbeInfo<'_>) -> Option<gst::ClockTime> {
    if let Some(frame) = info.buffer() {
        return frame.pts();
    }
    let request = DownstreamForceKeyUnitEvent::parse(info.event()?).ok()?;
    request.running_time
}

fn set_preset(encoder: &gst::Element, preset: &str) -> Result<(), ToolError> {
    let presets = encoder
        .property_type("speed-preset")
        .and_then(gst::glib::EnumClass::with_type);
    let value = presets
        .and_then(|presets| presets.to_value_by_nick(preset))
        .ok_or_else(|| {
            ToolError::new(
                telecine_engine::activity::ErrorClass::Input,
                "unknown_preset",
                format!("x264 has no preset {preset:?}"),
            )
        })?;
    encoder.set_property_from_value("speed-preset", &value);
    Ok(())
}

/// The end of a rendition: what its encoder gives becomes segment files, on the encoder's thread.
fn encoder_sink(
    spec: &Spec,
    work: &RungWork,
    colours: &Colours,
    (failure, running, events): (&Failure, &Arc<Running>, &Sender<Encoded>),
) -> AppSink {
    let writer = Arc::new(Mutex::new(RungWriter::new(
        work.rung.clone(),
        Timeline::of(spec),
        super::writer::Look {
            colour: colours.nclx(),
            frame_rate: output_frame_rate(spec.facts.frame_rate),
            reorder_ticks: Reordering::of(&spec.facts, spec.timescale).ticks,
        },
        Outbox {
            directory: spec.out_dir.clone(),
            track: work.rung.name.clone(),
            events: events.clone(),
        },
    )));
    let (ending, failed, running) = (writer.clone(), failure.clone(), running.clone());
    let failure = failure.clone();
    let callbacks = AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.push(&sample).map_err(|error| {
                failure.set(error);
                gst::FlowError::Error
            })?;
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            let mut writer = ending.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writer.finish() {
                failed.set(error);
            }
            running.end_one();
        })
        .build();
    AppSink::builder()
        .caps(
            &gst::Caps::builder("video/x-h264")
                .field("stream-format", "avc")
                .field("alignment", "au")
                .build(),
        )
        .sync(false)
        // Without this, no sink passes on its first frame until all have one; a rendition that
        // begins later in the chunk, or looks further ahead, would hold the others up for ever.
        .async_(false)
        .enable_last_sample(false)
        .callbacks(callbacks)
        .build()
}
