//! From a file of a known container to its elementary streams, with elements chosen by fixed
//! tables: nothing is plugged by guess, so no element that opens other files or addresses can
//! ever run.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use telecine_engine::activity::ErrorClass;

use super::last_samples;
use super::sniff::Container;
use crate::tool::ToolError;

/// How long a pipeline may do nothing before it counts as stuck. Behind a seek a decoder may go
/// through a whole group of pictures in silence: 250 frames of 4K AV1 take half a minute.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// How often a waiting tool looks up.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pictures, including still ones.
    Video,
    /// Sound.
    Audio,
    /// Subtitles or captions.
    Subtitle,
    /// Timed metadata and what is not known.
    Other,
}

/// A stream that the demuxer offers.
#[derive(Debug)]
pub(crate) struct Offer {
    /// What it carries.
    pub(crate) kind: Kind,
    /// Number among the streams of its kind, from 0.
    pub(crate) index: u32,
    /// What the container says of its format.
    pub(crate) caps: gst::Caps,
    /// Where it comes out.
    pub(crate) pad: gst::Pad,
}

/// A pipeline that is set to NULL when it is dropped, on every path: one that is dropped while it
/// runs prints hundreds of messages and may hang.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// The elements.
    pub(crate) inner: gst::Pipeline,
    /// What `on_stream` could not do.
    failure: Arc<Mutex<Option<ToolError>>>,
}

impl Pipeline {
    /// Starts it, or changes its state otherwise.
    ///
    /// # Errors
    /// What the bus says, if it cannot.
    pub(crate) fn set_state(&self, state: gst::State) -> Result<(), ToolError> {
        match self.inner.set_state(state) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.error().unwrap_or_else(|| {
                ToolError::input("malformed_source", "the source cannot be opened as media")
            })),
        }
    }

    /// Waits up to [`TICK`] for the end, an error, or one of the messages asked for.
    ///
    /// # Errors
    /// The pipeline's error.
    pub(crate) fn wait(
        &self,
        types: &[gst::MessageType],
    ) -> Result<Option<gst::Message>, ToolError> {
        let Some(bus) = self.inner.bus() else {
            return Ok(None);
        };
        let types = [types, &[gst::MessageType::Error]].concat();
        let tick = gst::ClockTime::from_mseconds(TICK.as_millis() as u64);
        let message = bus.timed_pop_filtered(tick, &types);
        if let Some(failure) = lock(&self.failure).take() {
            return Err(failure);
        }
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(source_error(error)),
            _ => Ok(message),
        }
    }

    /// Looks for an error without waiting.
    ///
    /// # Errors
    /// The pipeline's error.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        self.error().map_or(Ok(()), Err)
    }

    fn error(&self) -> Option<ToolError> {
        if let Some(failure) = lock(&self.failure).take() {
            return Some(failure);
        }
        let message = self.inner.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(source_error(error)),
            _ => None,
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Nobody is left who could use the error.
        let _ = self.inner.set_state(gst::State::Null);
    }
}

/// Locks a mutex whose content is valid after every statement, so a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads GStreamer; later calls cost nothing.
///
/// # Errors
/// `gstreamer_missing`, class `config`.
pub(crate) fn init() -> Result<(), ToolError> {
    gst::init().map_err(|error| {
        ToolError::new(
            ErrorClass::Config,
            "gstreamer_missing",
            format!("gstreamer does not start: {error}; run `telecine doctor`"),
        )
    })
}

/// Makes an element.
///
/// # Errors
/// `plugin_missing`, class `config`, naming it.
pub(crate) fn element(name: &str) -> Result<gst::Element, ToolError> {
    gst::ElementFactory::make(name).build().map_err(|_| {
        ToolError::new(
            ErrorClass::Config,
            "plugin_missing",
            format!("the gstreamer element {name} is not installed; run `telecine doctor`"),
        )
    })
}

/// A pipeline that demuxes a file. `on_stream` is called once for each stream, in the order of the
/// file, on a thread of the pipeline; it links the pad or leaves it alone.
///
/// # Errors
/// `gstreamer_missing` or `plugin_missing`, class `config`.
pub(crate) fn open(
    source: &Path,
    container: Container,
    on_stream: impl Fn(&gst::Pipeline, Offer) -> Result<(), ToolError> + Send + Sync + 'static,
) -> Result<Pipeline, ToolError> {
    init()?;
    let pipeline = Pipeline {
        inner: gst::Pipeline::new(),
        failure: Arc::default(),
    };
    let file = element("filesrc")?;
    file.set_property("location", source);
    if container.is_isobmff() {
        last_samples::keep(&file, source)?;
    }
    let demuxer = element(demuxer(container))?;
    (pipeline.inner)
        .add_many([&file, &demuxer])
        .and_then(|()| file.link(&demuxer))
        .map_err(|error| broken(&error))?;
    let offers = Offers {
        counts: Mutex::default(),
        on_stream: Box::new(on_stream),
        pipeline: pipeline.inner.downgrade(),
        container,
        failure: Arc::clone(&pipeline.failure),
    };
    match demuxer.static_pad("src") {
        Some(pad) => offers.offer(pad),
        None => {
            demuxer.connect_pad_added(move |_, pad| offers.offer(pad.clone()));
        }
    }
    Ok(pipeline)
}

type OnStream = dyn Fn(&gst::Pipeline, Offer) -> Result<(), ToolError> + Send + Sync;

/// Counts streams by kind while pads appear.
struct Offers {
    counts: Mutex<[u32; 4]>,
    on_stream: Box<OnStream>,
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    container: Container,
    failure: Arc<Mutex<Option<ToolError>>>,
}

impl Offers {
    fn offer(&self, pad: gst::Pad) {
        let Some(pipeline) = self.pipeline.upgrade() else {
            return;
        };
        let caps = frames_without_container(self.container)
            .or_else(|| pad.current_caps())
            .unwrap_or_else(|| pad.query_caps(None));
        let kind = kind(&caps);
        let offer = Offer {
            kind,
            index: self.count(kind),
            caps,
            pad,
        };
        leave_out_transparency(&offer.pad);
        if let Err(error) = (self.on_stream)(&pipeline, offer) {
            lock(&self.failure).get_or_insert(error);
        }
    }

    fn count(&self, kind: Kind) -> u32 {
        let mut counts = lock(&self.counts);
        let count = &mut counts[kind as usize];
        *count += 1;
        *count - 1
    }
}

/// The element that takes a container apart, or steps over what precedes bare audio frames.
pub(crate) fn demuxer(container: Container) -> &'static str {
    match container {
        Container::Mp4 | Container::Mov | Container::ThreeGp | Container::M4a => "qtdemux",
        Container::Matroska | Container::Webm => "matroskademux",
        Container::Avi => "avidemux",
        Container::Flv => "flvdemux",
        Container::MpegTs { .. } => "tsdemux",
        Container::MpegPs => "mpegpsdemux",
        Container::Asf => "asfdemux",
        Container::Ogg => "oggdemux",
        // Steps over tags; without one it hands the frames on.
        Container::Mp3 | Container::Adts => "id3demux",
        Container::Wav => "wavparse",
        Container::Flac => "flacparse",
    }
}

/// What files of bare audio frames hold: their pads come before their caps.
fn frames_without_container(container: Container) -> Option<gst::Caps> {
    let mpeg = |version: i32| {
        gst::Caps::builder("audio/mpeg")
            .field("mpegversion", version)
            .build()
    };
    match container {
        Container::Mp3 => Some(mpeg(1)),
        Container::Adts => Some(mpeg(4)),
        Container::Wav => Some(gst::Caps::new_empty_simple("audio/x-raw")),
        Container::Flac => Some(gst::Caps::new_empty_simple("audio/x-flac")),
        _ => None,
    }
}

fn kind(caps: &gst::CapsRef) -> Kind {
    let Some(name) = caps.structure(0).map(|structure| structure.name()) else {
        return Kind::Other;
    };
    match name.split('/').next() {
        Some("video" | "image") => Kind::Video,
        Some("audio") => Kind::Audio,
        Some("text" | "subpicture" | "closedcaption") => Kind::Subtitle,
        _ if name.starts_with("application/x-ssa") || name.starts_with("application/x-ass") => {
            Kind::Subtitle
        }
        _ => Kind::Other,
    }
}

/// When something with a time stamp is shown.
///
/// A segment says so, except in Matroska: its time stamps are the timeline, and its demuxer maps
/// the first picture of a file that begins late (21 ms are usual: the priming of AAC) to 0 and all
/// others right.
pub(crate) fn stream_time(
    container: Container,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    time: gst::ClockTime,
) -> Option<gst::ClockTime> {
    match container {
        Container::Matroska | Container::Webm => Some(time),
        _ => segment.to_stream_time(time),
    }
}

/// Takes the container's colour description out of the way of an H.264 or H.265 parser, which would
/// keep it: QuickTime's `nclc` has no range, so full-range pictures would count as limited. `pad`
/// is the demuxer's, not linked yet.
pub(crate) fn prefer_stream_colour(pad: &gst::Pad) {
    rewrite_caps(pad, without_colour);
}

/// Has whoever reads a demuxer's stream hear other caps, where `rewrite` makes any. The pad keeps its own.
fn rewrite_caps(pad: &gst::Pad, rewrite: fn(&gst::CapsRef) -> Option<gst::Caps>) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event_mut()
            && let gst::EventView::Caps(said) = event.view()
            && let Some(caps) = rewrite(said.caps())
        {
            let seqnum = event.seqnum();
            *event = gst::event::Caps::builder(&caps).seqnum(seqnum).build();
        }
        gst::PadProbeReturn::Ok
    });
}

/// The caps without their colour, if the stream says it itself.
fn without_colour(caps: &gst::CapsRef) -> Option<gst::Caps> {
    let name = caps.structure(0)?.name().as_str();
    matches!(name, "video/x-h264" | "video/x-h265").then(|| {
        let mut caps = caps.to_owned();
        for structure in caps.make_mut().iter_mut() {
            structure.remove_field("colorimetry");
        }
        caps
    })
}

/// The parser for a stream, where there is one.
///
/// # Errors
/// `plugin_missing`.
pub(crate) fn parser(caps: &gst::CapsRef) -> Result<Option<gst::Element>, ToolError> {
    let Some(structure) = caps.structure(0) else {
        return Ok(None);
    };
    let name = match structure.name().as_str() {
        "video/x-h264" => "h264parse",
        "video/x-h265" => "h265parse",
        "video/x-av1" => "av1parse",
        "video/x-vp9" => "vp9parse",
        "video/x-h263" => "h263parse",
        "video/mpeg" => match structure.get::<i32>("mpegversion") {
            Ok(4) => "mpeg4videoparse",
            _ => "mpegvideoparse",
        },
        "audio/mpeg" => match structure.get::<i32>("mpegversion") {
            Ok(1) => "mpegaudioparse",
            _ => "aacparse",
        },
        "audio/x-ac3" | "audio/x-eac3" | "audio/x-private1-ac3" => "ac3parse",
        "audio/x-dts" => "dcaparse",
        "audio/x-flac" => "flacparse",
        "audio/x-opus" => "opusparse",
        "audio/x-vorbis" => "vorbisparse",
        _ => return Ok(None),
    };
    element(name).map(Some)
}

/// What WebM says of a video that is transparent in places: each packet has another one beside it, of how much is seen.
pub(crate) const TRANSPARENT: &str = "codec-alpha";

/// Keeps from whoever reads a demuxer's stream that it is transparent in places. GStreamer 1.22 has a parser of VP9
/// that never ends when it hears of it; decoders that do not hear of it decode the colours.
pub(crate) fn leave_out_transparency(pad: &gst::Pad) {
    rewrite_caps(pad, |caps| {
        let said = caps.iter().any(|caps| caps.has_field(TRANSPARENT));
        said.then(|| opaque(caps))
    });
}

/// The same without saying that it is transparent.
pub(crate) fn opaque(caps: &gst::CapsRef) -> gst::Caps {
    let mut caps = caps.to_owned();
    for structure in caps.make_mut().iter_mut() {
        structure.remove_field(TRANSPARENT);
    }
    caps
}

/// Links a stream through elements to the last of them; those without a parent are added to the
/// pipeline.
///
/// # Errors
/// `pipeline_broken`, class `bug`.
pub(crate) fn attach(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    chain: &[gst::Element],
) -> Result<(), ToolError> {
    let link = || -> Result<(), gst::glib::BoolError> {
        for element in chain.iter().filter(|element| element.parent().is_none()) {
            pipeline.add(element)?;
        }
        gst::Element::link_many(chain)?;
        for element in chain.iter().rev() {
            element.sync_state_with_parent()?;
        }
        let sink = chain.first().and_then(|first| first.static_pad("sink"));
        if let Some(sink) = sink {
            pad.link(&sink)
                .map_err(|error| gst::glib::bool_error!("{error}"))?;
        }
        Ok(())
    };
    link().map_err(|error| broken(&error))
}

fn broken(error: &gst::glib::BoolError) -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "pipeline_broken",
        format!("a media pipeline could not be linked: {}", error.message),
    )
}

/// A source that its owner locked.
pub(crate) fn encrypted() -> ToolError {
    ToolError::input(
        "encrypted_source",
        "the source is encrypted (DRM); submit it without encryption",
    )
}

/// The error of a bus message as the user's.
pub(crate) fn source_error(message: &gst::message::Error) -> ToolError {
    let error = message.error();
    if error.matches(gst::StreamError::Decrypt) || error.matches(gst::StreamError::DecryptNokey) {
        return encrypted();
    }
    if error.matches(gst::ResourceError::Read) || error.matches(gst::ResourceError::OpenRead) {
        return ToolError::new(
            ErrorClass::Transient,
            "io_error",
            format!("cannot read the source: {error}"),
        );
    }
    ToolError::input(
        "malformed_source",
        format!(
            "the source cannot be read: {}",
            lowercase_first(error.message())
        ),
    )
}

fn lowercase_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + chars.as_str()
    })
}

/// Ends a tool that stands still: time since the counter last grew.
#[derive(Debug)]
pub(crate) struct Watchdog {
    seen: u64,
    since: Instant,
}

impl Watchdog {
    /// One that starts now.
    pub(crate) fn new() -> Self {
        Self {
            seen: 0,
            since: Instant::now(),
        }
    }

    /// Looks at the counter.
    ///
    /// # Errors
    /// `no_progress`, class `stalled`, when it stood still for [`STALL`].
    pub(crate) fn check(&mut self, counter: u64) -> Result<(), ToolError> {
        if counter != self.seen {
            self.seen = counter;
            self.since = Instant::now();
        }
        if self.since.elapsed() < STALL {
            return Ok(());
        }
        Err(ToolError::new(
            ErrorClass::Stalled,
            "no_progress",
            format!(
                "reading the source made no progress for {} s",
                STALL.as_secs()
            ),
        ))
    }
}
