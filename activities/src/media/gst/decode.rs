//! One stream of a file, decoded.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::VideoMeta;
use telecine_engine::activity::ErrorClass;

use super::{Failure, Pipeline, QUEUE_BUFFERS, bug, element, failure};
use crate::media::demux::{demuxer, leave_out_transparency};
use crate::media::frames::decoder;
use crate::media::last_samples;
use crate::media::sniff::{Container, sniff};
use crate::tool::ToolError;

/// How long a decoder may give nothing before it counts as hung. A 4K keyframe of a slow codec
/// takes under a second.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How often a waiting thread looks whether the pipeline has failed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Demuxers that a bare audio file may need: they strip tags or a header around one stream.
const AUDIO_WRAPPERS: &[&str] = &["aiffparse", "apedemux", "auparse", "id3demux", "wavparse"];

/// Sort of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Which stream of a file is decoded; the others are left unlinked.
#[derive(Debug, Clone, Copy)]
pub struct StreamChoice {
    /// Its sort.
    pub kind: StreamKind,
    /// Its place among the streams of that sort, from 0, in the order of the file.
    pub index: u32,
}

/// What is decoded and how.
#[derive(Debug)]
pub struct DecodeRequest<'a> {
    /// A local file.
    pub path: &'a Path,
    /// Which of its streams.
    pub stream: StreamChoice,
    /// Where the presentation starts in the demuxer's count of time.
    pub origin_ns: u64,
    /// Time from which frames are wanted; decoding begins at the keyframe before it.
    pub seek_ns: Option<u64>,
    /// Elements behind the decoder, in order.
    pub filters: Vec<gst::Element>,
    /// What the last of them has to give.
    pub caps: gst::Caps,
}

/// A picture, or a run of sound.
#[derive(Debug)]
pub struct Decoded {
    /// The data and its format.
    pub sample: gst::Sample,
    /// When it is shown or heard, in nanoseconds; before 0 for what an edit list cuts away, `None`
    /// if the container does not say.
    pub at_ns: Option<i64>,
}

/// A running decoder.
#[derive(Debug)]
pub struct Decoder {
    // Dropped first: its threads use what follows.
    _pipeline: Pipeline,
    sink: AppSink,
    failure: Failure,
    container: Container,
    origin_ns: u64,
}

impl Decoder {
    /// Opens the file and starts decoding.
    ///
    /// # Errors
    /// `input` if the file is no supported container or lacks the stream.
    pub fn open(request: DecodeRequest<'_>) -> Result<Self, ToolError> {
        let container = sniff(request.path)?;
        let failure = Failure::default();
        let pipeline = Pipeline::new(&failure, failure::sort_source_error);
        let sink = sink(&request.caps, request.stream.kind);
        let decodebin = decode_chain(&pipeline, &request, &sink, &failure)?;
        let awaiting = [
            std::slice::from_ref(&decodebin),
            request.filters.as_slice(),
            &[sink.clone().upcast()],
        ]
        .concat();
        let source = file_source(request.path, container)?;
        let blocked = if is_bare_audio(container) {
            pipeline.chain(&[&source, &decodebin])?;
            None
        } else {
            let demuxer = element(demuxer(container))?;
            pipeline.chain(&[&source, &demuxer])?;
            pick_stream(&demuxer, decodebin, &request, &failure)
        };
        pipeline.make_ready(&awaiting)?;
        pipeline.play(&failure)?;
        if let (Some(blocked), Some(seek_ns)) = (blocked, request.seek_ns) {
            seek(&blocked, request.origin_ns + seek_ns, &failure)?;
        }
        Ok(Self {
            _pipeline: pipeline,
            sink,
            failure,
            container,
            origin_ns: request.origin_ns,
        })
    }

    fn time_ns(&self, sample: &gst::Sample) -> Option<i64> {
        let counted_ns = match self.container {
            // Its time stamps are the timeline; its demuxer maps the first picture of a file
            // that begins late to 0, and only that one.
            Container::Matroska | Container::Webm => {
                i64::try_from(sample.buffer()?.pts()?.nseconds()).ok()?
            }
            _ => stream_time_ns(sample)?,
        };
        Some(counted_ns - i64::try_from(self.origin_ns).ok()?)
    }

    /// The next decoded buffer; `None` at the end of the stream.
    ///
    /// # Errors
    /// What went wrong in the pipeline; `stalled` if nothing comes for a minute.
    pub fn next(&self) -> Result<Option<Decoded>, ToolError> {
        let asked = Instant::now();
        let wait = gst::ClockTime::from_mseconds(CHECK_INTERVAL.as_millis() as u64);
        loop {
            if let Some(sample) = self.sink.try_pull_sample(wait) {
                let at_ns = self.time_ns(&sample);
                return Ok(Some(Decoded { sample, at_ns }));
            }
            self.failure.check()?;
            if self.sink.is_eos() {
                return Ok(None);
            }
            if asked.elapsed() > SILENCE_LIMIT {
                return Err(hung());
            }
        }
    }
}

/// Whether a file is one stream of audio, which parsers open.
fn is_bare_audio(container: Container) -> bool {
    use Container::{Adts, Flac, Mp3, Wav};
    matches!(container, Mp3 | Adts | Wav | Flac)
}

/// Reads a local file.
fn file_source(path: &Path, container: Container) -> Result<gst::Element, ToolError> {
    let source = element("filesrc")?;
    source.set_property("location", path);
    if container.is_isobmff() {
        last_samples::keep(&source, path)?;
    }
    Ok(source)
}

/// The stream time of a buffer in nanoseconds; before 0 for what an edit list cuts away.
#[must_use]
pub fn stream_time_ns(sample: &gst::Sample) -> Option<i64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_stream_time_full(sample.buffer()?.pts()?)?;
    Some(match time {
        gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok()?,
        gst::Signed::Negative(time) => -i64::try_from(time.nseconds()).ok()?,
    })
}

fn hung() -> ToolError {
    ToolError::new(
        ErrorClass::Stalled,
        "no_progress",
        format!(
            "the decoder gave nothing for {} seconds",
            SILENCE_LIMIT.as_secs()
        ),
    )
}

/// The end of the pipeline. It says that it takes frames with padded rows: decoders copy every
/// frame for a sink that does not.
fn sink(caps: &gst::Caps, kind: StreamKind) -> AppSink {
    let sink = AppSink::builder()
        .caps(caps)
        .sync(false)
        .async_(false)
        .enable_last_sample(false)
        .max_buffers(QUEUE_BUFFERS)
        .build();
    if let (StreamKind::Video, Some(pad)) = (kind, sink.static_pad("sink")) {
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
            match info.query_mut().map(gst::QueryRef::view_mut) {
                Some(gst::QueryViewMut::Allocation(query)) => {
                    query.add_allocation_meta::<VideoMeta>(None);
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }
    sink
}

/// Everything behind the demuxer: a decoder bin, the filters, the sink.
fn decode_chain(
    pipeline: &Pipeline,
    request: &DecodeRequest<'_>,
    sink: &AppSink,
    failure: &Failure,
) -> Result<gst::Element, ToolError> {
    let mut behind: Vec<&gst::Element> = request.filters.iter().collect();
    behind.push(sink.upcast_ref());
    pipeline.chain(&behind)?;
    let target = behind[0]
        .static_pad("sink")
        .ok_or_else(|| bug("no sink pad"))?;
    let decodebin = restricted_decodebin()?;
    pipeline.chain(&[&decodebin])?;
    let (kind, failure) = (request.stream.kind, failure.clone());
    decodebin.connect_pad_added(move |_, pad| {
        if kind.matches(pad)
            && !target.is_linked()
            && let Err(error) = pad.link(&target)
        {
            failure.set(bug(error));
        }
    });
    Ok(decodebin)
}

/// A `decodebin` that plugs parsers and decoders only.
fn restricted_decodebin() -> Result<gst::Element, ToolError> {
    let decodebin = element("decodebin")?;
    decodebin.connect("autoplug-select", false, |values| {
        let caps: gst::Caps = values.get(2)?.get().ok()?;
        let factory: gst::ElementFactory = values.get(3)?.get().ok()?;
        let verdict = if may_plug(&factory, &caps) {
            "try"
        } else {
            "skip"
        };
        let results = gst::glib::Type::from_name("GstAutoplugSelectResult")?;
        gst::glib::EnumClass::with_type(results)?.to_value_by_nick(verdict)
    });
    Ok(decodebin)
}

fn may_plug(factory: &gst::ElementFactory, caps: &gst::Caps) -> bool {
    let class = factory.metadata("klass").unwrap_or_default();
    if class.contains("Decoder/Video") || class.contains("Decoder/Image") {
        // The best by the rule of the probe, which has none of hardware: chunks are alike wherever they are made.
        return decoder(caps).is_none_or(|tried| tried == *factory);
    }
    let codec = class.contains("Parser") || class.contains("Decoder");
    (codec && !class.contains("Subtitle")) || AUDIO_WRAPPERS.contains(&factory.name().as_str())
}

impl StreamKind {
    /// Whether a pad carries this sort of stream.
    fn matches(self, pad: &gst::Pad) -> bool {
        let name = media_type(pad);
        match self {
            // Motion JPEG and PNG tracks are called images.
            Self::Video => name.starts_with("video/") || name.starts_with("image/"),
            Self::Audio => name.starts_with("audio/"),
        }
    }
}

fn media_type(pad: &gst::Pad) -> String {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    caps.structure(0)
        .map_or_else(String::new, |s| s.name().to_string())
}

type Blocked = (gst::Pad, gst::PadProbeId);

/// Links the chosen stream of a demuxer when it appears. With a seek to come, its pad is blocked
/// before the first buffer, so that nothing is decoded in vain, and handed out.
fn pick_stream(
    demuxer: &gst::Element,
    decodebin: gst::Element,
    request: &DecodeRequest<'_>,
    failure: &Failure,
) -> Option<Receiver<Blocked>> {
    let (blocked, wait) = sync_channel(1);
    let picker = std::sync::Arc::new(Picker {
        choice: request.stream,
        seen: AtomicUsize::new(0),
        encrypted: AtomicBool::new(false),
        decodebin,
        block: request.seek_ns.is_some().then_some(blocked),
        failure: failure.clone(),
    });
    let last = picker.clone();
    demuxer.connect_pad_added(move |_, pad| picker.offer(pad));
    demuxer.connect_no_more_pads(move |_| last.finish());
    request.seek_ns.is_some().then_some(wait)
}

struct Picker {
    choice: StreamChoice,
    seen: AtomicUsize,
    encrypted: AtomicBool,
    decodebin: gst::Element,
    block: Option<SyncSender<Blocked>>,
    failure: Failure,
}

impl Picker {
    fn offer(&self, pad: &gst::Pad) {
        if matches!(
            media_type(pad).as_str(),
            "application/x-cenc" | "application/x-cbcs" | "application/x-webm-enc"
        ) {
            self.encrypted.store(true, Ordering::Relaxed);
        }
        if !self.choice.kind.matches(pad) {
            return;
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) == self.choice.index as usize {
            self.link(pad);
        }
    }

    fn link(&self, pad: &gst::Pad) {
        leave_out_transparency(pad);
        if let Some(blocked) = self.block.clone() {
            block(pad, blocked);
        }
        let linked = self
            .decodebin
            .static_pad("sink")
            .ok_or_else(|| bug("no sink pad"))
            .and_then(|sink| pad.link(&sink).map_err(bug));
        if let Err(error) = linked {
            self.failure.set(error);
        }
    }

    /// All streams are known: the chosen one was among them, or never comes.
    fn finish(&self) {
        if self.seen.load(Ordering::Relaxed) > self.choice.index as usize {
            return;
        }
        self.failure.set(match self.choice.kind {
            _ if self.encrypted.load(Ordering::Relaxed) => failure::encrypted(),
            StreamKind::Video => ToolError::input("no_video", "the source has no video track"),
            StreamKind::Audio => ToolError::input(
                "no_audio",
                format!(
                    "the source has no audio track number {}",
                    self.choice.index + 1
                ),
            ),
        });
    }
}

/// Holds the first buffer of a pad back until the probe is removed.
fn block(pad: &gst::Pad, blocked: SyncSender<Blocked>) {
    let flow =
        gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(flow, move |pad, info| {
        if let Some(id) = info.id.take() {
            // A second message, after the seek, finds nobody waiting.
            let _ = blocked.try_send((pad.clone(), id));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Seeks to the keyframe at or before `seek_ns` and lets the stream flow. A demuxer that cannot
/// seek starts at the beginning, which costs time but no frame.
fn seek(blocked: &Receiver<Blocked>, seek_ns: u64, failure: &Failure) -> Result<(), ToolError> {
    let (pad, probe) = wait_for(blocked, failure)?;
    let sought = pad.send_event(gst::event::Seek::new(
        1.0,
        gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE,
        gst::SeekType::Set,
        gst::ClockTime::from_nseconds(seek_ns),
        gst::SeekType::None,
        gst::ClockTime::NONE,
    ));
    tracing::debug!(sought, seek_ns, "sought");
    pad.remove_probe(probe);
    failure.check()
}

fn wait_for(blocked: &Receiver<Blocked>, failure: &Failure) -> Result<Blocked, ToolError> {
    let asked = Instant::now();
    loop {
        match blocked.recv_timeout(CHECK_INTERVAL) {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => failure.check()?,
        }
        if asked.elapsed() > SILENCE_LIMIT {
            return Err(hung());
        }
    }
}
