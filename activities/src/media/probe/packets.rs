//! One pass over all packets of a file: demuxed and parsed, not decoded.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::limits::{MAX_FRAMES, MAX_STREAMS};
use crate::media::demux::{self, Kind, Offer, Watchdog};
use crate::media::overheard::{Overheard, Phrase};
use crate::media::sniff::Container;
use crate::tool::ToolError;

/// What was seen of one stream.
#[derive(Debug)]
pub(super) struct StreamLog {
    /// What it carries.
    pub(super) kind: Kind,
    /// Number among the streams of its kind, from 0.
    pub(super) index: u32,
    /// GStreamer's name of it; ends with the track's id in the container.
    pub(super) stream_id: String,
    /// Whether the container selects it by default.
    pub(super) selected: bool,
    /// What the container says of its format.
    pub(super) container_caps: gst::Caps,
    /// What the parser says.
    pub(super) caps: gst::Caps,
    /// Language, orientation.
    pub(super) tags: gst::TagList,
    /// Where the presentation starts in the demuxer's count of time; the times below are counted
    /// from there.
    pub(super) origin_ns: u64,
    /// Shown packets of a video, in the order of the file.
    pub(super) frames: Vec<FrameTime>,
    /// Packets with a time inside the presentation.
    pub(super) packets: u64,
    /// Start of the first one.
    pub(super) start_ns: Option<u64>,
    /// End of the last one.
    pub(super) end_ns: u64,
    /// Start and end of the last packet of a video, as the container says; equal if it does not
    /// say. (Parsers guess durations from the frame rate.)
    pub(super) tail: Option<(u64, u64)>,
    /// Whether every packet has a presentation time, not just a decode time.
    pub(super) has_presentation_times: bool,
    /// Number of edits of the container's timeline that its packets lie in.
    pub(super) edits: u32,
    container: Container,
    segment: Option<Segment>,
    /// By how much stream time is earlier than the time stamp, in the edit of the last packet.
    shift: Option<i128>,
}

type Segment = gst::FormattedSegment<gst::ClockTime>;

/// When a packet is shown, in stream time.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameTime {
    /// Nanoseconds.
    pub(super) time_ns: u64,
    /// Whether decoding can begin with it.
    pub(super) keyframe: bool,
}

/// What the pass found.
#[derive(Debug)]
pub(super) struct Packets {
    /// Streams in the order of the file.
    pub(super) streams: Vec<StreamLog>,
    /// Where the presentation starts in the demuxer's count of time.
    pub(super) origin_ns: u64,
    /// What the container's header says of the length, counted from there.
    pub(super) declared_ns: Option<u64>,
    /// Places where the demuxer found something else than it looked for, and went on behind it.
    pub(super) breaks: u64,
    /// How the pass ended, if not with the end of the file.
    pub(super) error: Option<ToolError>,
}

/// The longest run-up of sound that is cut off: two packets of AAC at 44.1 kHz, the priming of
/// usual encoders.
const RUN_UP_NS: u64 = 50_000_000;

/// What demuxers that look for the next readable place say when they have to.
const BREAKS: [Phrase; 2] = [
    Phrase {
        category: "matroskademux",
        level: gst::DebugLevel::Warning,
        begins: "parse error, looking for next cluster",
    },
    Phrase {
        category: "tsdemux",
        level: gst::DebugLevel::Warning,
        begins: "warning: CONTINUITY",
    },
];

/// Taken when the file was read. Threads that have ended may hold on to it for a moment longer.
type Log = Arc<Mutex<Option<StreamLog>>>;

/// Reads a whole file. `progress` is called a few times a second with the packets seen so far.
///
/// # Errors
/// `no_streams`, `too_many_streams`, `too_many_frames`, `no_progress`, or that of the demuxer if
/// it found no stream.
pub(super) fn read(
    source: &Path,
    container: Container,
    progress: &dyn Fn(u64),
) -> Result<Packets, ToolError> {
    demux::init()?;
    let overheard = Overheard::listen(&BREAKS);
    let logs: Arc<Mutex<Vec<Log>>> = Arc::default();
    let counter = Arc::new(AtomicU64::new(0));
    let pipeline = {
        let (logs, counter) = (Arc::clone(&logs), Arc::clone(&counter));
        demux::open(source, container, move |pipeline, offer| {
            watch(pipeline, &offer, container, &logs, &counter)
        })?
    };
    pipeline.set_state(gst::State::Playing)?;
    let error = drain(&pipeline, &counter, progress)?;
    let declared_ns = (pipeline.inner)
        .query_duration::<gst::ClockTime>()
        .map(gst::ClockTime::nseconds);
    drop(pipeline);
    let mut streams: Vec<StreamLog> = demux::lock(&logs)
        .drain(..)
        .filter_map(|log| demux::lock(&log).take())
        .collect();
    if streams.is_empty() {
        return Err(error.unwrap_or_else(no_streams));
    }
    let origin_ns = origin(&streams);
    for stream in &mut streams {
        stream.count_from(origin_ns);
    }
    Ok(Packets {
        streams,
        origin_ns,
        declared_ns: declared_ns.map(|end_ns| end_ns.saturating_sub(origin_ns)),
        breaks: overheard.counts().iter().sum(),
        error,
    })
}

fn no_streams() -> ToolError {
    ToolError::input(
        "no_streams",
        "the source holds neither video nor audio that can be read",
    )
}

/// Waits for the end of the file. The demuxer's error is a finding, not a failure of the pass.
fn drain(
    pipeline: &demux::Pipeline,
    counter: &AtomicU64,
    progress: &dyn Fn(u64),
) -> Result<Option<ToolError>, ToolError> {
    let mut watchdog = Watchdog::new();
    loop {
        match pipeline.wait(&[gst::MessageType::Eos]) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(None),
            Err(error) if error.class == telecine_engine::activity::ErrorClass::Input => {
                return Ok(Some(error));
            }
            Err(error) => return Err(error),
        }
        let packets = counter.load(Ordering::Relaxed);
        progress(packets);
        watchdog.check(packets)?;
        if packets > MAX_FRAMES {
            return Err(ToolError::input(
                "too_many_frames",
                format!("the source has more than {MAX_FRAMES} packets"),
            ));
        }
    }
}

/// Ends a stream in a sink that takes packets as fast as they come, and looks at each.
fn watch(
    pipeline: &gst::Pipeline,
    offer: &Offer,
    container: Container,
    logs: &Mutex<Vec<Log>>,
    counter: &Arc<AtomicU64>,
) -> Result<(), ToolError> {
    let log = {
        let mut logs = demux::lock(logs);
        if logs.len() == MAX_STREAMS {
            return Err(ToolError::input(
                "too_many_streams",
                format!("the source has more than {MAX_STREAMS} streams"),
            ));
        }
        let log = StreamLog::new(offer, container);
        logs.push(Arc::new(Mutex::new(Some(log))));
        Arc::clone(&logs[logs.len() - 1])
    };
    demux::prefer_stream_colour(&offer.pad);
    let sink = demux::element("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    sink.set_property("enable-last-sample", false);
    if offer.kind == Kind::Video {
        observe_unparsed(&offer.pad, Arc::clone(&log));
    }
    observe(&sink, log, Arc::clone(counter));
    let parser = if packs_frames(container, &offer.caps) {
        None
    } else {
        demux::parser(&offer.caps)?
    };
    let chain: Vec<gst::Element> = parser.into_iter().chain([sink]).collect();
    demux::attach(pipeline, &offer.pad, &chain)
}

/// Whether packets may hold a B-frame behind the frame that it refers to, and later packets nothing
/// (MPEG-4 Part 2 in AVI, which has no times of showing). The parser takes them apart, and counts 297
/// frames where 223 are shown; packets are as many as frames.
fn packs_frames(container: Container, caps: &gst::CapsRef) -> bool {
    let mpeg4 = caps
        .structure(0)
        .is_some_and(|format| format.get::<i32>("mpegversion") == Ok(4));
    container == Container::Avi && mpeg4
}

fn observe(sink: &gst::Element, log: Log, counter: Arc<AtomicU64>) {
    let types = gst::PadProbeType::BUFFER
        | gst::PadProbeType::BUFFER_LIST
        | gst::PadProbeType::EVENT_DOWNSTREAM;
    let Some(pad) = sink.static_pad("sink") else {
        return;
    };
    pad.add_probe(types, move |_, info| {
        let mut log = demux::lock(&log);
        let Some(log) = log.as_mut() else {
            return gst::PadProbeReturn::Ok;
        };
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                counter.fetch_add(1, Ordering::Relaxed);
                log.packet(buffer);
            }
            Some(gst::PadProbeData::BufferList(list)) => {
                counter.fetch_add(list.len() as u64, Ordering::Relaxed);
                list.iter().for_each(|buffer| log.packet(buffer));
            }
            Some(gst::PadProbeData::Event(event)) => log.event(event),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn observe_unparsed(pad: &gst::Pad, log: Log) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad
            .sticky_event::<gst::event::Segment>(0)
            .and_then(|event| event.segment().clone().downcast().ok());
        if let (Some(buffer), Some(segment)) = (info.buffer(), segment)
            && let Some(log) = demux::lock(&log).as_mut()
        {
            log.unparsed(buffer, &segment);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Where the presentation starts: with the first picture or sound. The clock of MPEG streams runs
/// ahead of both, by 0.7 s in camcorder files, and recordings and cuts in any container may begin
/// at any time; a still picture would be shown up to there.
///
/// With the picture, if that follows the sound closely. Containers without edit lists put the
/// run-up of audio encoders before it (21 ms for AAC), and the first frame would be held for as
/// long, off the grid of all others.
fn origin(streams: &[StreamLog]) -> u64 {
    let media = streams
        .iter()
        .filter(|stream| matches!(stream.kind, Kind::Video | Kind::Audio));
    let first_ns = media
        .filter_map(|stream| stream.start_ns)
        .min()
        .unwrap_or(0);
    let picture_ns = super::picture::find(streams).and_then(|picture| picture.start_ns);
    let near = |start_ns: &u64| *start_ns - first_ns <= RUN_UP_NS;
    picture_ns.filter(near).unwrap_or(first_ns)
}

impl Packets {
    /// A time that the file's structure states, counted from where the presentation starts.
    pub(super) fn since_origin(&self, stated: std::time::Duration) -> u64 {
        let stated_ns = u64::try_from(stated.as_nanos()).unwrap_or(u64::MAX);
        stated_ns.saturating_sub(self.origin_ns)
    }
}

impl StreamLog {
    fn count_from(&mut self, origin_ns: u64) {
        let shift = |time_ns: u64| time_ns.saturating_sub(origin_ns);
        self.origin_ns = origin_ns;
        self.start_ns = self.start_ns.map(shift);
        self.end_ns = shift(self.end_ns);
        self.tail = self.tail.map(|(start, end)| (shift(start), shift(end)));
        for frame in &mut self.frames {
            frame.time_ns = shift(frame.time_ns);
        }
    }

    fn new(offer: &Offer, container: Container) -> Self {
        Self {
            kind: offer.kind,
            index: offer.index,
            stream_id: String::new(),
            selected: false,
            container_caps: offer.caps.clone(),
            caps: offer.caps.clone(),
            tags: gst::TagList::new(),
            origin_ns: 0,
            frames: Vec::new(),
            packets: 0,
            start_ns: None,
            end_ns: 0,
            tail: None,
            has_presentation_times: true,
            edits: 0,
            container,
            segment: None,
            shift: None,
        }
    }

    fn event(&mut self, event: &gst::EventRef) {
        match event.view() {
            gst::EventView::StreamStart(start) => {
                start.stream_id().clone_into(&mut self.stream_id);
                self.selected = start.stream_flags().contains(gst::StreamFlags::SELECT);
            }
            gst::EventView::Caps(caps) => self.caps = caps.caps_owned(),
            gst::EventView::Segment(segment) => {
                self.segment = segment.segment().clone().downcast().ok();
            }
            gst::EventView::Tag(tag) => {
                self.tags = self.tags.merge(tag.tag(), gst::TagMergeMode::Replace);
            }
            _ => {}
        }
    }

    fn packet(&mut self, buffer: &gst::BufferRef) {
        if self.is_hidden_vp8(buffer) {
            return;
        }
        let Some(segment) = self.segment.as_ref() else {
            return;
        };
        let Some((start, end)) = shown(self.container, buffer, segment) else {
            return;
        };
        let shift = segment
            .start()
            .map(|start| i128::from(start.nseconds()))
            .zip(segment.time())
            .map(|(start, time)| start - i128::from(time.nseconds()));
        self.edits += u32::from(self.shift != shift);
        self.shift = shift;
        self.packets += 1;
        self.start_ns = Some(self.start_ns.map_or(start, |first| first.min(start)));
        self.end_ns = self.end_ns.max(end);
        self.has_presentation_times &= buffer.pts().is_some();
        if self.kind == Kind::Video {
            self.frames.push(FrameTime {
                time_ns: start,
                keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            });
        }
    }

    /// Looks at a packet as it leaves the demuxer.
    fn unparsed(&mut self, buffer: &gst::BufferRef, segment: &Segment) {
        let Some((start, end)) = shown(self.container, buffer, segment) else {
            return;
        };
        if self.tail.is_none_or(|tail| start >= tail.0) {
            let lasts = buffer.duration().is_some();
            self.tail = Some((start, if lasts { end } else { start }));
        }
    }

    /// VP8 keeps its reference pictures in packets of their own: bit 4 of the first byte says
    /// whether a packet is shown (RFC 6386 section 9.1).
    fn is_hidden_vp8(&self, buffer: &gst::BufferRef) -> bool {
        let vp8 = self
            .caps
            .structure(0)
            .is_some_and(|s| s.name() == "video/x-vp8");
        let mut first = [0x10];
        vp8 && buffer.copy_to_slice(0, &mut first).is_ok() && first[0] & 0x10 == 0
    }
}

/// Start and end of a packet in stream time; `None` if it is not shown.
fn shown(container: Container, buffer: &gst::BufferRef, segment: &Segment) -> Option<(u64, u64)> {
    let start = buffer.pts().or(buffer.dts())?;
    let shortest = gst::ClockTime::from_nseconds(1);
    let duration = buffer.duration().unwrap_or(shortest).max(shortest);
    let (start, end) = segment.clip(start, start + duration)?;
    Some((
        demux::stream_time(container, segment, start?)?.nseconds(),
        demux::stream_time(container, segment, end?)?.nseconds(),
    ))
}
