//! Decodes a rendition as a player does: header and segments one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use telecine_engine::activity::ErrorClass;

use crate::lint::{Packets, Track};
use crate::media::encoded::ticks_of;
use crate::media::gst::{Failure, Feed, Pipeline, bug, element, stream_time_ns};
use crate::tool::ToolError;

/// How often the end is looked for, and progress told, once everything has been handed over.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long nothing may come out of the decoder. What is queued are three segments at most.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Why a track was not decoded to its end.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// The decoder refuses it, and says why.
    Undecodable(String),
    /// Something else went wrong.
    Tool(ToolError),
}

/// Marks errors of the decoder on their way through the pipeline.
const UNDECODABLE: &str = "package_invalid";

impl From<ToolError> for DecodeError {
    fn from(error: ToolError) -> Self {
        if error.code == UNDECODABLE {
            Self::Undecodable(error.message)
        } else {
            Self::Tool(error)
        }
    }
}

/// A decoder at work. It counts what comes out, by segment.
pub(super) struct Decoding {
    // Dropped first: its threads use what follows.
    _pipeline: Pipeline,
    feed: Feed,
    failure: Failure,
    counts: Arc<Counts>,
    ended: Receiver<()>,
}

impl Decoding {
    /// Starts decoding, with the header.
    pub(super) fn start(track: &Track, init: Vec<u8>) -> Result<Self, ToolError> {
        let failure = Failure::default();
        let pipeline = Pipeline::new(&failure, undecodable);
        let format = gst::Caps::builder("video/quicktime")
            .field("variant", "iso-fragmented")
            .build();
        let feed = Feed::bytes(&format, &failure);
        let counts = Arc::new(Counts::new(track));
        let (end, ended) = channel();
        let sink = sink(Arc::clone(&counts), end);
        let demuxer = element("qtdemux")?;
        let decoder = decoder(track)?;
        pipeline.chain(&[feed.element(), &demuxer])?;
        pipeline.chain(&[&decoder, sink.upcast_ref()])?;
        link_when_known(&demuxer, &decoder, &failure);
        pipeline.play(&failure)?;
        let decoding = Self {
            _pipeline: pipeline,
            feed,
            failure,
            counts,
            ended,
        };
        decoding.push(init)?;
        Ok(decoding)
    }

    /// Hands bytes over, waiting for room.
    pub(super) fn push(&self, bytes: Vec<u8>) -> Result<(), ToolError> {
        self.feed.push(gst::Buffer::from_mut_slice(bytes))
    }

    /// Number of samples that have come out.
    pub(super) fn decoded(&self) -> u64 {
        self.counts.decoded()
    }

    /// Waits for the last sample; the number that came out of each segment.
    pub(super) fn finish(&self, tell: impl Fn(u64)) -> Result<Vec<u64>, DecodeError> {
        self.feed.end()?;
        let mut grew = (self.decoded(), Instant::now());
        while self.ended.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.failure.check()?;
            let decoded = self.decoded();
            if decoded > grew.0 {
                grew = (decoded, Instant::now());
            } else if grew.1.elapsed() > SILENCE_LIMIT {
                let silent = "the decoder has given nothing for 60 s";
                return Err(ToolError::new(ErrorClass::Stalled, "no_progress", silent).into());
            }
            tell(decoded);
        }
        self.failure.check()?;
        Ok(self.counts.by_segment())
    }
}

/// A decoder that gives no frame that it had to guess at.
fn decoder(track: &Track) -> Result<gst::Element, ToolError> {
    if track.audio.is_some() {
        return element("avdec_aac");
    }
    let decoder = element("avdec_h264")?;
    decoder.set_property("output-corrupt", false);
    decoder.set_property("discard-corrupted-frames", true);
    Ok(decoder)
}

/// Links the demuxer's only stream.
fn link_when_known(demuxer: &gst::Element, decoder: &gst::Element, failure: &Failure) {
    let (decoder, failure) = (decoder.downgrade(), failure.clone());
    demuxer.connect_pad_added(move |_, pad| {
        let sink = decoder
            .upgrade()
            .and_then(|decoder| decoder.static_pad("sink"));
        let linked = sink.map(|sink| pad.link(&sink));
        if !matches!(linked, Some(Ok(_))) {
            failure.set(bug(format!("the demuxer gives {:?}", pad.current_caps())));
        }
    });
}

fn sink(counts: Arc<Counts>, end: Sender<()>) -> AppSink {
    let callbacks = AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            counts.add(&sample);
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            // Nobody waits any more when the check has failed.
            let _ = end.send(());
        })
        .build();
    AppSink::builder()
        .sync(false)
        .enable_last_sample(false)
        .callbacks(callbacks)
        .build()
}

fn undecodable(error: &gst::glib::Error) -> ToolError {
    ToolError::new(ErrorClass::Bug, UNDECODABLE, error.message())
}

/// How many samples came out of each segment, told by their time.
struct Counts {
    timescale: u32,
    audio: Option<Packets>,
    starts_ticks: Vec<u64>,
    counts: Mutex<Vec<u64>>,
    total: AtomicU64,
}

impl Counts {
    fn new(track: &Track) -> Self {
        let starts = track.segments.iter().map(|segment| segment.start_ticks);
        Self {
            timescale: track.timescale,
            audio: track.audio,
            starts_ticks: starts.collect(),
            counts: Mutex::new(vec![0; track.segments.len()]),
            total: AtomicU64::new(0),
        }
    }

    fn add(&self, sample: &gst::Sample) {
        let at_ns = stream_time_ns(sample).and_then(|ns| u64::try_from(ns).ok());
        let at_ticks = ticks_of(at_ns.unwrap_or(0), self.timescale);
        let place = self
            .starts_ticks
            .partition_point(|start| *start <= at_ticks);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(place.saturating_sub(1)) {
            *count += self.samples_in(sample);
        }
        self.total
            .fetch_add(self.samples_in(sample), Ordering::Relaxed);
    }

    /// A buffer of video is one frame; one of audio is so many packets. The decoder tells by its
    /// rate whether it has replicated the spectrum, which the header need not say.
    fn samples_in(&self, sample: &gst::Sample) -> u64 {
        let Some((buffer, packets)) = sample.buffer().zip(self.audio) else {
            return 1;
        };
        let info = sample
            .caps()
            .and_then(|caps| gstreamer_audio::AudioInfo::from_caps(caps).ok());
        let Some(info) = info else { return 1 };
        let samples = buffer.size() as u64 / u64::from(info.bpf().max(1));
        let heard = u64::from(packets.samples) * u64::from(info.rate());
        samples * u64::from(packets.rate) / heard.max(1)
    }

    fn decoded(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn by_segment(&self) -> Vec<u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}
