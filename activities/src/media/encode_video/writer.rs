//! Cuts the output of one encoder into segment files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gstreamer as gst;

use super::gate::Ruler;
use super::ladder::SHIFT_NS;
use super::spec::Spec;
use crate::media::encoded::{Extent, Outbox, ticks_of};
use crate::media::fmp4::{self, Nclx, VideoHeader};
use crate::media::gst::{bug, codec_data, stream_time_ns};
use crate::media::plan::Rung;
use crate::media::renditions::{Track, VideoFacts};
use crate::media::report::Ratio;
use crate::tool::ToolError;

/// The segments of a chunk in ticks.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    /// Ticks per second.
    pub(super) timescale: u32,
    /// Number of the first segment.
    pub(super) first_segment: u32,
    /// Start of each segment.
    pub(super) starts: Vec<u64>,
    /// End of the last.
    pub(super) end: u64,
    /// Length of a frame.
    pub(super) frame: u64,
}

impl Timeline {
    /// The segments of a chunk.
    pub(super) fn of(spec: &Spec) -> Self {
        let ruler = Ruler::of(spec);
        let ticks = |time_ns: u64| ruler.ticks(time_ns);
        Self {
            timescale: spec.timescale,
            first_segment: spec.chunk.first_segment,
            starts: spec.chunk.starts_ns.iter().copied().map(ticks).collect(),
            end: ticks(spec.chunk.end_ns),
            frame: ticks(spec.facts.frame_ns()).max(1),
        }
    }
}

/// What all segments of a rendition have in common beside the rung.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: Nclx,
    pub(super) frame_rate: Ratio,
    pub(super) reorder_ticks: u32,
}

/// An encoded frame.
struct Frame {
    pts_ticks: u64,
    sync: bool,
    data: gst::MappedBuffer<gst::buffer::Readable>,
}

/// Collects the frames of one segment, and no more, and writes it when the next one begins.
pub(super) struct RungWriter {
    rung: Rung,
    timeline: Timeline,
    look: Look,
    outbox: Outbox,
    announced: bool,
    /// Place of the segment whose frames are collected.
    current: Option<usize>,
    frames: Vec<Frame>,
}

impl RungWriter {
    pub(super) fn new(rung: Rung, timeline: Timeline, look: Look, outbox: Outbox) -> Self {
        Self {
            rung,
            timeline,
            look,
            outbox,
            announced: false,
            current: None,
            frames: Vec::new(),
        }
    }

    /// Takes the next frame, in decode order.
    ///
    /// # Errors
    /// `bug` if the encoder broke a rule, `resource` if the disk is full.
    pub(super) fn push(&mut self, sample: &gst::Sample) -> Result<(), ToolError> {
        if !self.announced {
            self.outbox.announce(self.track(sample)?);
            self.announced = true;
        }
        let frame = self.frame(sample)?;
        if let Ok(place) = self.timeline.starts.binary_search(&frame.pts_ticks) {
            if self.current.is_some() {
                self.write(frame.pts_ticks)?;
            }
            self.current = Some(place);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Writes the last segment.
    ///
    /// # Errors
    /// As [`RungWriter::push`].
    pub(super) fn finish(&mut self) -> Result<(), ToolError> {
        // A source may go on a little longer than its header says.
        let last = self
            .frames
            .iter()
            .map(|frame| frame.pts_ticks)
            .max()
            .unwrap_or(0);
        let end = if last < self.timeline.end {
            self.timeline.end
        } else {
            last + self.timeline.frame
        };
        self.write(end)
    }

    fn write(&mut self, end_ticks: u64) -> Result<(), ToolError> {
        let place = self
            .current
            .take()
            .ok_or_else(|| bug("frames before the first segment"))?;
        let frames = std::mem::take(&mut self.frames);
        let samples: Vec<_> = frames.iter().map(Frame::sample).collect();
        let number = self.timeline.first_segment + place as u32;
        let bytes = fmp4::video_segment(number, &samples, end_ticks, self.look.reorder_ticks)?;
        let start_ticks = self.timeline.starts[place];
        let extent = Extent {
            start_ticks,
            duration_ticks: end_ticks - start_ticks,
            samples: samples.len(),
        };
        self.outbox.write(number, extent, &bytes)
    }

    fn frame(&self, sample: &gst::Sample) -> Result<Frame, ToolError> {
        let buffer = sample
            .buffer_owned()
            .ok_or_else(|| bug("a sample without data"))?;
        let at_ns = stream_time_ns(sample)
            .and_then(|at_ns| u64::try_from(at_ns).ok())
            .and_then(|at_ns| at_ns.checked_sub(SHIFT_NS))
            .ok_or_else(|| bug("a frame without a time"))?;
        Ok(Frame {
            pts_ticks: ticks_of(at_ns, self.timeline.timescale),
            sync: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            data: buffer
                .into_mapped_buffer_readable()
                .map_err(|_| bug("unreadable data"))?,
        })
    }

    fn track(&self, sample: &gst::Sample) -> Result<Track, ToolError> {
        let avcc = codec_data(sample)?;
        let header = VideoHeader {
            size: self.rung.size,
            timescale: self.timeline.timescale,
            reorder_ticks: self.look.reorder_ticks,
            avcc: &avcc,
            colour: self.look.colour,
        };
        Ok(Track {
            name: self.rung.name.clone(),
            codecs: codecs(&avcc),
            timescale: self.timeline.timescale,
            init_base64: BASE64.encode(fmp4::video_init(&header)?),
            video: Some(VideoFacts {
                size: self.rung.size,
                frame_rate: self.look.frame_rate,
            }),
            audio: None,
        })
    }
}

impl Frame {
    fn sample(&self) -> fmp4::Sample<'_> {
        fmp4::Sample {
            pts_ticks: self.pts_ticks,
            sync: self.sync,
            data: self.data.as_slice(),
        }
    }
}

/// RFC 6381: profile, constraints and level, as the decoder configuration record has them.
fn codecs(avcc: &[u8]) -> String {
    let hex: String = avcc
        .iter()
        .skip(1)
        .take(3)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("avc1.{hex}")
}
