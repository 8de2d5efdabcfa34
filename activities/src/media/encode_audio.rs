//! Encodes one audio track, whole, into an AAC stereo rendition cut on the video's grid.
//!
//! ```text
//! file -> demuxer -> decoder -> audioconvert -> audioresample -> sink   (decode)
//!   align: sample n of the rendition is heard at n / rate               (this thread)
//! source -> avenc_aac -> sink -> segment files                          (encode)
//! ```
//!
//! Never in chunks: each AAC encoder begins with a packet that holds its filter's run-up, so
//! tracks joined from several have a click at every seam.

mod align;
mod downmix;
mod packets;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ErrorClass, Progress};

use self::align::Aligner;
use self::packets::{Grid, PacketWriter};
use super::encoded::{Encoded, Meter, Outbox, ns_of, seconds, ticks_of};
use super::gst::{
    DecodeRequest, Decoded, Decoder, Failure, Feed, Pipeline, StreamChoice, StreamKind, bug,
    element, sort_encode_error,
};
use super::renditions::Track;
use super::report::AudioTrack;
use crate::tool::{Emitter, Tool, ToolError};

/// Channels of the rendition.
const CHANNELS: u32 = 2;

/// Bytes of one sample of all channels, as 32-bit floats.
const FRAME_BYTES: usize = 4 * CHANNELS as usize;

/// How much of the end of a track may be missing: half a second, because containers that lack an
/// index tell durations no better.
const ALLOWED_LOSS_NS: u64 = 500_000_000;

/// Where a gap is not told of: the first packet of sound may stand alone before the picture (ffmpeg's
/// fragmented MP4 files, 58 ms).
const RUN_UP_NS: u64 = 100_000_000;

/// Longest piece of silence that is made at once.
const SILENCE_SAMPLES: u64 = 48_000;

/// How often a waiting thread looks whether the pipeline has failed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What `encode-audio` is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// A local file.
    pub source: PathBuf,
    /// Place of the track among the audio tracks of the file, from 0.
    pub track_index: u32,
    /// What the probe found about it.
    pub track: AudioTrack,
    /// Starts of all segments, the first being 0. Each is moved to the nearest AAC packet.
    pub segment_starts_ns: Vec<u64>,
    /// End of the video, to which the track is cut or filled with silence; `None` if there is no
    /// video: the track then ends where its sound does.
    pub end_ns: Option<u64>,
    /// Bits per second.
    pub bitrate: u32,
    /// Where segment files go. The directory exists.
    pub out_dir: PathBuf,
}

/// What was encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Facts of the rendition.
    pub track: Track,
    /// Samples of the rendition, silence included.
    pub samples: u64,
    /// Samples of it that are silence filled into gaps, at the start or at the end.
    pub silence_samples: u64,
}

/// The tool. Its events are [`Encoded`].
#[derive(Debug)]
pub struct EncodeAudio;

impl Tool for EncodeAudio {
    const NAME: &'static str = "encode-audio";
    type Spec = Spec;
    type Event = Encoded;
    type Output = Output;

    fn run(spec: Spec, emit: &Emitter<Encoded>) -> Result<Output, ToolError> {
        super::gst::init()?;
        spec.check()?;
        Encode::new(&spec, emit).run()
    }
}

impl Spec {
    fn check(&self) -> Result<(), ToolError> {
        let starts = &self.segment_starts_ns;
        let wrong = if starts.first() != Some(&0) || !starts.is_sorted_by(|a, b| a < b) {
            "the starts of segments do not rise from 0"
        } else if !(16_000..=512_000).contains(&self.bitrate) {
            "the bitrate of the audio is not between 16000 and 512000"
        } else if self.end_ns == Some(0) {
            "the audio is to end at 0"
        } else {
            return Ok(());
        };
        Err(ToolError::new(ErrorClass::Config, "bad_encode_spec", wrong))
    }

    /// Samples per second of the rendition: 44.1 kHz for sources of that family, which then need
    /// no resampling or an exact one, 48 kHz for all others.
    fn sample_rate(&self) -> u32 {
        if self.track.sample_rate > 0 && self.track.sample_rate.is_multiple_of(11_025) {
            44_100
        } else {
            48_000
        }
    }

    /// End of the sound that the track promises, as far as it is used.
    fn promised_ns(&self) -> u64 {
        self.end_ns
            .map_or(self.track.end_ns, |end_ns| end_ns.min(self.track.end_ns))
    }
}

/// One run over a track.
struct Encode<'a> {
    spec: &'a Spec,
    emit: &'a Emitter<Encoded>,
    rate: u32,
    aligner: Aligner,
    meter: Meter,
    track: Option<Track>,
    silence_samples: u64,
    /// Samples of it between sounds, and where the first of them is.
    gaps: u64,
    first_gap: Option<u64>,
    decoded_until_ns: u64,
}

impl<'a> Encode<'a> {
    fn new(spec: &'a Spec, emit: &'a Emitter<Encoded>) -> Self {
        let rate = spec.sample_rate();
        Self {
            spec,
            emit,
            rate,
            aligner: Aligner::new(rate, spec.end_ns, spec.track.end_ns),
            meter: Meter::new(0, spec.end_ns.unwrap_or(spec.track.end_ns)),
            track: None,
            silence_samples: 0,
            gaps: 0,
            first_gap: None,
            decoded_until_ns: 0,
        }
    }

    fn run(mut self) -> Result<Output, ToolError> {
        let decoder = self.open()?;
        let (events, told) = channel();
        let encoder = Encoder::start(
            self.spec,
            self.rate,
            Outbox {
                directory: self.spec.out_dir.clone(),
                track: format!("{}_aac_{CHANNELS}ch", self.spec.track.language),
                events,
            },
        )?;
        while let Some(sound) = decoder.next()? {
            self.pass(&sound, &encoder)?;
            self.tell(&told);
            if self.aligner.is_full() {
                break;
            }
        }
        self.check_complete()?;
        self.tell_gaps();
        drop(decoder);
        self.fill_up(&encoder)?;
        encoder.finish(self.aligner.position())?;
        self.tell(&told);
        self.output()
    }

    fn open(&self) -> Result<Decoder, ToolError> {
        let convert = element("audioconvert")?;
        downmix::mix_by_position(&convert);
        Decoder::open(DecodeRequest {
            path: &self.spec.source,
            stream: StreamChoice {
                kind: StreamKind::Audio,
                index: self.spec.track_index,
            },
            origin_ns: self.spec.track.origin_ns,
            seek_ns: None,
            filters: vec![convert, element("audioresample")?],
            caps: sample_caps(self.rate),
        })
    }

    /// Puts decoded samples at their place.
    fn pass(&mut self, sound: &Decoded, encoder: &Encoder) -> Result<(), ToolError> {
        let Some(buffer) = sound.sample.buffer() else {
            return Ok(());
        };
        let at_ns = sound.at_ns;
        let samples = (buffer.size() / FRAME_BYTES) as u64;
        let place = self.aligner.place(at_ns, samples)?;
        let gap_at = place.at - place.silence;
        if place.silence > 0 && self.decoded_until_ns > 0 && gap_at > ticks_of(RUN_UP_NS, self.rate)
        {
            self.gaps += place.silence;
            self.first_gap.get_or_insert(gap_at);
        }
        self.silence(gap_at, place.silence, encoder)?;
        if place.take > 0 {
            let bytes = |samples: u64| samples as usize * FRAME_BYTES;
            let part = buffer
                .copy_region(
                    gst::BufferCopyFlags::MEMORY,
                    bytes(place.skip)..bytes(place.skip + place.take),
                )
                .map_err(bug)?;
            encoder.push(part, place.at, self.rate)?;
        }
        let end_ns = at_ns
            .and_then(|at_ns| u64::try_from(at_ns).ok())
            .unwrap_or(0)
            + ns_of(samples, self.rate);
        self.decoded_until_ns = self.decoded_until_ns.max(end_ns);
        Ok(())
    }

    /// Encodes silence from sample `start` of the rendition on.
    fn silence(&mut self, start: u64, samples: u64, encoder: &Encoder) -> Result<(), ToolError> {
        let mut at = start;
        while at < start + samples {
            let piece = (start + samples - at).min(SILENCE_SAMPLES);
            let zeros = vec![0_u8; piece as usize * FRAME_BYTES];
            encoder.push(gst::Buffer::from_mut_slice(zeros), at, self.rate)?;
            at += piece;
        }
        self.silence_samples += samples;
        Ok(())
    }

    fn fill_up(&mut self, encoder: &Encoder) -> Result<(), ToolError> {
        let start = self.aligner.position();
        let missing = self.aligner.fill();
        self.silence(start, missing, encoder)
    }

    fn tell(&mut self, told: &Receiver<Encoded>) {
        for event in told.try_iter() {
            if let Encoded::Track(track) = &event {
                self.track = Some(track.clone());
            }
            self.emit.event(event);
        }
        let at = self.aligner.position();
        if let Some(progress) = self.meter.due(at, ns_of(at, self.rate)) {
            self.tell_progress(progress);
        }
    }

    /// The meter counts samples here, and samples per second are no frame rate.
    fn tell_progress(&self, progress: Progress) {
        self.emit.progress(Progress {
            fps: None,
            ..progress
        });
    }

    fn tell_gaps(&self) {
        let Some(first) = self.first_gap else { return };
        let at = |samples| seconds(ns_of(samples, self.rate));
        self.emit.warn(format!(
            "sound_gaps: {:.2} s of the sound are missing, the first at second {:.1}; silence is \
             heard there",
            at(self.gaps),
            at(first)
        ));
    }

    fn check_complete(&self) -> Result<(), ToolError> {
        let promised_ns = self.spec.promised_ns();
        if self.decoded_until_ns + ALLOWED_LOSS_NS >= promised_ns {
            return Ok(());
        }
        Err(ToolError::input(
            "source_truncated",
            format!(
                "the source is cut off: its audio should reach {:.1} s but the data ends at {:.1} s",
                seconds(promised_ns),
                seconds(self.decoded_until_ns),
            ),
        ))
    }

    fn output(self) -> Result<Output, ToolError> {
        let samples = self.aligner.position();
        let at_ns = ns_of(samples, self.rate);
        self.tell_progress(self.meter.progress(samples, at_ns));
        let track = self.track.ok_or_else(|| {
            ToolError::input("no_audio", "the audio track of the source holds no sound")
        })?;
        Ok(Output {
            track,
            samples,
            silence_samples: self.silence_samples,
        })
    }
}

/// Interleaved stereo floats.
fn sample_caps(rate: u32) -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("layout", "interleaved")
        .field("rate", rate as i32)
        .field("channels", CHANNELS as i32)
        .field("channel-mask", gst::Bitmask::new(0x3))
        .build()
}

/// The running AAC encoder.
struct Encoder {
    // Dropped first: its threads use what follows.
    _pipeline: Pipeline,
    feed: Feed,
    failure: Failure,
    ended: Receiver<()>,
    writer: Arc<Mutex<PacketWriter>>,
}

impl Encoder {
    fn start(spec: &Spec, rate: u32, outbox: Outbox) -> Result<Self, ToolError> {
        let failure = Failure::default();
        let pipeline = Pipeline::new(&failure, sort_encode_error);
        let feed = Feed::new(&sample_caps(rate), &failure);
        let aac = element("avenc_aac")?;
        aac.set_property("bitrate", i32::try_from(spec.bitrate).unwrap_or(i32::MAX));
        // Codes middle and side always instead of where it pays, and loses the side: sound from
        // the left alone came out of both sides at half its level.
        aac.set_property("aac-ms", false);
        // The other coder, `twoloop`, overshoots without it: a tone of 0.73 peaked at 1.30. This one
        // keeps 0.73, and comes nearer to music as well (21.0 dB against 20.6).
        aac.set_property_from_str("aac-coder", "fast");
        let grid = Grid::new(&spec.segment_starts_ns, rate, spec.end_ns.is_none());
        let facts = packets::Facts {
            sample_rate: rate,
            channels: CHANNELS,
            bitrate: spec.bitrate,
            language: spec.track.language.clone(),
        };
        let writer = Arc::new(Mutex::new(PacketWriter::new(facts, grid, outbox)));
        let (end, ended) = channel();
        let sink = packet_sink(&writer, &failure, end);
        pipeline.chain(&[feed.element(), &aac, sink.upcast_ref()])?;
        pipeline.play(&failure)?;
        Ok(Self {
            _pipeline: pipeline,
            feed,
            failure,
            ended,
            writer,
        })
    }

    /// Encodes samples, the first of which is number `at` of the rendition.
    fn push(&self, mut samples: gst::Buffer, at: u64, rate: u32) -> Result<(), ToolError> {
        let time = |at: u64| gst::ClockTime::from_nseconds(ns_of(at, rate));
        let count = (samples.size() / FRAME_BYTES) as u64;
        let header = samples.make_mut();
        header.set_pts(time(at));
        header.set_duration(time(at + count) - time(at));
        self.feed.push(samples)
    }

    /// Writes the last segment; the rendition has `samples` samples.
    fn finish(&self, samples: u64) -> Result<(), ToolError> {
        self.feed.end()?;
        while self.ended.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.failure.check()?;
        }
        self.failure.check()?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.finish(samples)
    }
}

fn packet_sink(writer: &Arc<Mutex<PacketWriter>>, failure: &Failure, end: Sender<()>) -> AppSink {
    let (writer, failure) = (writer.clone(), failure.clone());
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
            // Nobody waits any more when the tool has failed.
            let _ = end.send(());
        })
        .build();
    AppSink::builder()
        .caps(
            &gst::Caps::builder("audio/mpeg")
                .field("mpegversion", 4)
                .field("stream-format", "raw")
                .build(),
        )
        .sync(false)
        .async_(false)
        .enable_last_sample(false)
        .callbacks(callbacks)
        .build()
}
