use std::path::Path;

use gstreamer as gst;
use gstreamer_video::prelude::*;
use gstreamer_video::{VideoFormat as VideoFormatId, VideoFrameRef, VideoInfo};

use super::{Plane, VideoFormat, VideoFrame};
use crate::media::encode_video::{ALLOWED_LOSS_NS, SourceFacts, upright_filters};
use crate::media::encoded::seconds;
use crate::media::gst::{
    DecodeRequest, Decoded, Decoder, StreamChoice, StreamKind, bug, element, init, queue,
};
use crate::media::plan::Chunk;
use crate::media::report::VideoTrack;
use crate::media::tone::Tone;
use crate::tool::ToolError;

/// How much is read on both sides of a chunk. Containers round times; who cuts exactly needs all
/// frames from which to choose.
const MARGIN_NS: i64 = 100_000_000;

/// Reads the frames of one chunk of a probed video. Only containers that hold their media themselves
/// are opened, as the built-in activities do. Use it in a [`Tool`](crate::tool::Tool): files are
/// hostile, and decoders have bugs.
#[derive(Debug)]
pub struct VideoReader {
    decoder: Decoder,
    format: VideoFormat,
    /// Of a video with high dynamic range.
    tone: Option<Tone>,
    chunk: Chunk,
    frame_ns: u64,
    /// End of the last frame that was decoded.
    reached_ns: u64,
    over: bool,
}

impl VideoReader {
    /// Opens a file. `track` is what `media.probe` says of its video, `chunk` one of those of
    /// `video.plan_chunks`.
    ///
    /// # Errors
    /// Class `input` if the file cannot be decoded, `config` if a plugin is missing.
    pub fn open(file: &Path, track: &VideoTrack, chunk: &Chunk) -> Result<Self, ToolError> {
        init()?;
        let facts = SourceFacts::from(track);
        let format = VideoFormat::of(track);
        let tone = Tone::of(&track.colour);
        let samples = tone
            .as_ref()
            .map_or(&[VideoFormatId::I420][..], Tone::formats);
        let keyframe_ns = chunk.seeks_ns.first().copied().filter(|at_ns| *at_ns > 0);
        let decoder = Decoder::open(DecodeRequest {
            path: file,
            stream: StreamChoice {
                kind: StreamKind::Video,
                index: facts.index,
            },
            origin_ns: facts.origin_ns,
            seek_ns: keyframe_ns,
            filters: [upright_filters(&facts)?, vec![queue()?, converter()?]].concat(),
            caps: format.caps(samples),
        })?;
        Ok(Self {
            decoder,
            format,
            tone,
            chunk: chunk.clone(),
            frame_ns: facts.frame_ns(),
            reached_ns: 0,
            over: false,
        })
    }

    /// What all frames have in common.
    #[must_use]
    pub fn format(&self) -> &VideoFormat {
        &self.format
    }

    fn read(&mut self) -> Result<Option<VideoFrame>, ToolError> {
        while !self.over {
            let Some(decoded) = self.decoder.next()? else {
                self.over = true;
                self.check_complete()?;
                break;
            };
            let at_ns = self.note(&decoded);
            if self.is_needed(at_ns) {
                return self.unpack(&decoded.sample, at_ns.unsigned_abs()).map(Some);
            }
        }
        Ok(None)
    }

    /// Notes how far decoding is; answers when the frame is shown.
    fn note(&mut self, decoded: &Decoded) -> i64 {
        let at_ns = decoded.at_ns.unwrap_or(signed(self.reached_ns));
        let duration = decoded.sample.buffer().and_then(gst::BufferRef::duration);
        let lasts_ns = duration.map_or(0, gst::ClockTime::nseconds);
        let end_ns = u64::try_from(at_ns).unwrap_or(0) + lasts_ns.max(self.frame_ns);
        self.reached_ns = self.reached_ns.max(end_ns);
        let until_ns = self.chunk.until_ns.map(signed);
        self.over = until_ns.is_some_and(|until_ns| at_ns > until_ns + MARGIN_NS);
        at_ns
    }

    fn is_needed(&self, at_ns: i64) -> bool {
        let from_ns = self.chunk.starts_ns.first().copied().map_or(0, signed);
        !self.over && at_ns >= 0 && at_ns + MARGIN_NS >= from_ns
    }

    /// Demuxers end a cut file without a word.
    fn check_complete(&self) -> Result<(), ToolError> {
        let missing_ns = self.chunk.end_ns.saturating_sub(self.reached_ns);
        if missing_ns <= ALLOWED_LOSS_NS.max(2 * self.frame_ns) {
            return Ok(());
        }
        let message = format!(
            "the source is cut off: its video should reach {:.1} s but the data ends at {:.1} s",
            seconds(self.chunk.end_ns),
            seconds(self.reached_ns),
        );
        Err(ToolError::input("source_truncated", message))
    }

    fn unpack(&self, sample: &gst::Sample, at_ns: u64) -> Result<VideoFrame, ToolError> {
        let caps = sample
            .caps()
            .ok_or_else(|| bug("a frame without a format"))?;
        let mut info = VideoInfo::from_caps(caps).map_err(bug)?;
        let buffer = sample.buffer_owned();
        let mut buffer = buffer.ok_or_else(|| bug("a frame without data"))?;
        if let Some(tone) = &self.tone {
            (buffer, info) = tone.map(&buffer, &info).map_err(bug)?;
        }
        let frame = VideoFrameRef::from_buffer_ref_readable(&buffer, &info).map_err(bug)?;
        Ok(VideoFrame {
            at_ns,
            planes: [plane(&frame, 0)?, plane(&frame, 1)?, plane(&frame, 2)?],
        })
    }
}

impl Iterator for VideoReader {
    type Item = Result<VideoFrame, ToolError>;

    /// The next frame, in order of time. Some before and behind the chunk come too, so that whoever
    /// cuts it has all that may belong to it. Fails with what went wrong in the decoder, and with
    /// `source_truncated`, class `input`, if the file ends before the chunk does; nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        self.over |= read.is_err();
        read.transpose()
    }
}

/// Copies a plane without the padding of its rows.
fn plane(frame: &VideoFrameRef<&gst::BufferRef>, index: u32) -> Result<Plane, ToolError> {
    let (width, height) = (
        frame.comp_width(index) as usize,
        frame.comp_height(index) as usize,
    );
    let stride = usize::try_from(frame.plane_stride()[index as usize]).map_err(bug)?;
    let data = frame.plane_data(index).map_err(bug)?;
    let mut points = Vec::with_capacity(width * height);
    for row in data.chunks(stride).take(height) {
        points.extend_from_slice(&row[..width]);
    }
    Ok(Plane { width, points })
}

/// Makes pixels square and samples 4:2:0, of as many bits as are asked for.
fn converter() -> Result<gst::Element, ToolError> {
    let converter = element("videoconvertscale")?;
    converter.set_property_from_str("method", "catrom");
    converter.set_property("add-borders", false);
    Ok(converter)
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
