//! Encodes a chunk of a video into every rendition of the H.264 ladder: one decode, a cascade of
//! scalers, one encoder each, cut into segments on the plan's grid.
//!
//! Two pipelines with plain code between them:
//!
//! ```text
//! file -> demuxer -> decoder -> [deinterlace] -> [videoflip] -> sink    (decode)
//!   gate: which frames are shown, at which tick, which begin a segment  (this thread)
//! source -> scale -> tee -> queue -> x264enc -> sink -> segment file    (encode, largest rung)
//!                     `-> queue -> scale -> tee -> ...                  (each smaller rung)
//! ```
//!
//! Behind the gate, time is stream time and frames carry the ticks of the plan, so that chunks
//! encoded in different processes join without a gap.

mod clock;
mod colour;
mod damage;
mod gate;
mod intake;
mod ladder;
mod level;
mod spec;
mod writer;

use std::sync::mpsc::{Receiver, channel};

use gstreamer as gst;
use serde::{Deserialize, Serialize};

use self::clock::Clock;
use self::damage::Damage;
use self::gate::{Gate, Verdict};
use self::intake::Intake;
use self::ladder::Ladder;
use super::encoded::{Encoded, Meter, seconds};
use super::gst::{DecodeRequest, Decoded, Decoder, Failure, StreamChoice, StreamKind};
use super::letterbox::Shape;
use super::renditions::Track;
use super::report::{Ratio, Size};
use crate::tool::{Emitter, Tool, ToolError};

pub(crate) use gate::ALLOWED_LOSS_NS;
pub use gate::output_frame_rate;
pub(crate) use ladder::upright_filters;
pub use spec::{RungWork, SourceFacts, Spec};

/// The tool. Its events are [`Encoded`].
#[derive(Debug)]
pub struct EncodeVideo;

/// What was encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Facts of every rendition that had segments to encode, largest first.
    pub tracks: Vec<Track>,
    /// Frames that were decoded, those before the chunk included.
    pub frames_decoded: u64,
    /// Frames that were handed to the encoders.
    pub frames_shown: u64,
    /// Time of the first frame shown; `None` if every segment existed already.
    pub first_frame_ns: Option<u64>,
    /// Time of the last frame shown.
    pub last_frame_ns: Option<u64>,
}

impl Tool for EncodeVideo {
    const NAME: &'static str = "encode-video";
    type Spec = Spec;
    type Event = Encoded;
    type Output = Output;

    fn run(spec: Spec, emit: &Emitter<Encoded>) -> Result<Output, ToolError> {
        super::gst::init()?;
        spec.check()?;
        if spec.first_segment().is_none() {
            return Ok(Output {
                tracks: Vec::new(),
                frames_decoded: 0,
                frames_shown: 0,
                first_frame_ns: None,
                last_frame_ns: None,
            });
        }
        Encode::new(&spec, emit)?.run()
    }
}

/// One run over a chunk.
struct Encode<'a> {
    spec: &'a Spec,
    emit: &'a Emitter<Encoded>,
    gate: Gate,
    clock: Clock,
    damage: Damage,
    meter: Meter,
    /// Whether a picture of another size or shape was told of.
    told_shape: bool,
    output: Output,
    /// End of the last frame that was decoded.
    decoded_until_ns: u64,
}

impl<'a> Encode<'a> {
    fn new(spec: &'a Spec, emit: &'a Emitter<Encoded>) -> Result<Self, ToolError> {
        let gate = Gate::new(spec);
        let meter = Meter::new(gate.starts_at_ns(), spec.chunk.end_ns);
        Ok(Self {
            spec,
            emit,
            gate,
            clock: Clock::new(spec.facts.guessed_times, spec.facts.frame_ns()),
            damage: Damage::listen(&spec.facts),
            meter,
            told_shape: false,
            output: Output {
                tracks: Vec::new(),
                frames_decoded: 0,
                frames_shown: 0,
                first_frame_ns: None,
                last_frame_ns: None,
            },
            decoded_until_ns: 0,
        })
    }

    fn run(mut self) -> Result<Output, ToolError> {
        let (decoder, first) = self.open()?;
        let failure = Failure::default();
        let (events, told) = channel();
        let mut intake = Intake::new(self.spec, &first.sample)?;
        let ladder = Ladder::start(self.spec, intake.info(), &failure, &events)?;
        drop(events);
        let mut next = Some(first);
        while let Some(frame) = next {
            let over = self.pass(&frame, &mut intake, &ladder)?;
            self.tell(&told);
            if over {
                break;
            }
            next = decoder.next()?;
        }
        self.check_complete()?;
        if let Some(warning) = self.damage.summary()? {
            self.emit.warn(warning);
        }
        drop(decoder);
        ladder.finish(|| self.tell(&told))?;
        self.tell(&told);
        let all = self.spec.chunk.end_ns;
        self.emit.progress(self.meter.progress(self.counter(), all));
        Ok(self.output)
    }

    /// Starts decoding at the keyframe before the first frame that is needed. A container whose
    /// index leads past that frame is decoded from its beginning instead.
    fn open(&self) -> Result<(Decoder, Decoded), ToolError> {
        let seek_ns = self.gate.seek_ns();
        let (decoder, first) = self.open_at(seek_ns)?;
        let late = (first.at_ns).is_some_and(|at_ns| self.gate.is_past_start(at_ns));
        if seek_ns.is_some() && late {
            drop((decoder, first));
            return self.open_at(None);
        }
        Ok((decoder, first))
    }

    fn open_at(&self, seek_ns: Option<u64>) -> Result<(Decoder, Decoded), ToolError> {
        let decoder = Decoder::open(DecodeRequest {
            path: &self.spec.source,
            stream: StreamChoice {
                kind: StreamKind::Video,
                index: self.spec.facts.index,
            },
            origin_ns: self.spec.facts.origin_ns,
            seek_ns,
            filters: ladder::upright_filters(&self.spec.facts)?,
            caps: gst::Caps::new_empty_simple("video/x-raw"),
        })?;
        let first = decoder.next()?.ok_or_else(|| self.truncated())?;
        Ok((decoder, first))
    }

    /// Hands a frame to the ladder if it is shown; true when the chunk is over.
    fn pass(
        &mut self,
        frame: &Decoded,
        intake: &mut Intake,
        ladder: &Ladder,
    ) -> Result<bool, ToolError> {
        let Some(buffer) = frame.sample.buffer() else {
            return Ok(false);
        };
        let frame_ns = self.spec.facts.frame_ns();
        let lasts_ns = buffer.duration().map(gst::ClockTime::nseconds);
        let at_ns = self.clock.time(frame.at_ns, lasts_ns);
        match self.gate.judge(at_ns)? {
            Verdict::Over => return Ok(true),
            Verdict::Skip => {}
            Verdict::Show { ticks, keyframe } => {
                self.note_shown(at_ns);
                let (picture, scaled) = intake.picture(&frame.sample)?;
                if let Some(shape) = scaled {
                    self.note_shape(at_ns, shape);
                }
                ladder.push(picture, ticks, keyframe)?;
            }
        }
        if self.output.first_frame_ns.is_some() {
            self.damage.note(at_ns)?;
        }
        let end_ns = u64::try_from(at_ns).unwrap_or(0) + lasts_ns.unwrap_or(frame_ns).max(frame_ns);
        self.decoded_until_ns = self.decoded_until_ns.max(end_ns);
        self.output.frames_decoded += 1;
        Ok(false)
    }

    fn note_shown(&mut self, at_ns: i64) {
        let at_ns = u64::try_from(at_ns).unwrap_or(0);
        self.output.frames_shown += 1;
        self.output.first_frame_ns.get_or_insert(at_ns);
        self.output.last_frame_ns = Some(at_ns);
    }

    /// Tells of the first picture of another size or shape.
    fn note_shape(&mut self, at_ns: i64, shape: Shape) {
        if !self.told_shape {
            self.told_shape = true;
            let (Size { width, height }, Ratio { num, den }) = (shape.size, shape.pixel_aspect);
            self.emit.warn(format!(
                "size_changes: at {:.1} s pictures of {width}x{height} with pixels of {num}:{den} come, unlike those \
                 that the video began with; they are scaled into its frame",
                seconds(u64::try_from(at_ns).unwrap_or(0)),
            ));
        }
    }

    /// Passes on what the encoders' threads have told, and progress.
    fn tell(&mut self, told: &Receiver<Encoded>) {
        for event in told.try_iter() {
            if let Encoded::Track(track) = &event {
                self.output.tracks.push(track.clone());
            }
            self.emit.event(event);
        }
        let (counter, at_ns) = (self.counter(), self.decoded_until_ns);
        if let Some(progress) = self.meter.due(counter, at_ns) {
            self.emit.progress(progress);
        }
    }

    /// Frames that the attempt has decoded.
    fn counter(&self) -> u64 {
        self.spec.frames_before + self.output.frames_decoded
    }

    /// Compares what was decoded with what the chunk promised: demuxers end a cut file without
    /// a word.
    fn check_complete(&self) -> Result<(), ToolError> {
        let missing_ns = self.spec.chunk.end_ns.saturating_sub(self.decoded_until_ns);
        let allowed_ns = (2 * self.spec.facts.frame_ns()).max(gate::ALLOWED_LOSS_NS);
        let whole = self.gate.is_over() || missing_ns <= allowed_ns;
        if whole && self.gate.all_begun() {
            Ok(())
        } else {
            Err(self.truncated())
        }
    }

    fn truncated(&self) -> ToolError {
        ToolError::input(
            "source_truncated",
            format!(
                "the source is cut off: its video should reach {:.1} s but the data ends at {:.1} s",
                seconds(self.spec.chunk.end_ns),
                seconds(self.decoded_until_ns),
            ),
        )
    }
}
