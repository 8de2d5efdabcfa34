//! What both encoders tell while they work, and the segment files they leave.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ActivityError, ErrorClass, Progress};

use super::fmp4::BoxError;
use super::renditions::Track;
use crate::tool::ToolError;

/// How often progress is told at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What an encoder tells.
///
/// For each rendition [`Encoded::Track`] comes once, before its first segment; segments of one
/// rendition come in order of time, those of several are interleaved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoded {
    /// The facts of a rendition, now that its encoder has started.
    Track(Track),
    /// A segment is complete in its file.
    Segment(SegmentFile),
}

/// A media segment in a file of the output directory. The file is complete, but not synced to
/// disk: whoever stores it makes it durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentFile {
    /// Name of its rendition.
    pub track: String,
    /// From 1, over the whole presentation.
    pub number: u32,
    /// Decode time of its first sample.
    pub start_ticks: u64,
    /// Until the start of the next one.
    pub duration_ticks: u64,
    /// Number of samples: frames of video, packets of audio.
    pub samples: u32,
    /// Where it is.
    pub path: PathBuf,
}

/// Where a rendition's segments go.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The directory of the files. It exists.
    pub(super) directory: PathBuf,
    /// Name of the rendition.
    pub(super) track: String,
    /// Takes what is to be told; the tool's own thread tells it.
    pub(super) events: Sender<Encoded>,
}

/// When a segment begins and how long it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Decode time of its first sample.
    pub(super) start_ticks: u64,
    /// Until the start of the next one.
    pub(super) duration_ticks: u64,
    /// Number of samples.
    pub(super) samples: usize,
}

impl Outbox {
    /// Tells the facts of the rendition.
    pub(super) fn announce(&self, track: Track) {
        self.tell(Encoded::Track(track));
    }

    /// Writes a segment and tells of it.
    ///
    /// # Errors
    /// `resource` if the disk is full; what the system says otherwise.
    pub(super) fn write(&self, number: u32, extent: Extent, bytes: &[u8]) -> Result<(), ToolError> {
        let path = self
            .directory
            .join(format!("{}_{number:05}.m4s", self.track));
        std::fs::write(&path, bytes).map_err(|error| {
            let error = ActivityError::io("write a segment to the scratch directory", error);
            ToolError::new(error.class, error.code, error.message)
        })?;
        self.tell(Encoded::Segment(SegmentFile {
            track: self.track.clone(),
            number,
            start_ticks: extent.start_ticks,
            duration_ticks: extent.duration_ticks,
            samples: u32::try_from(extent.samples).unwrap_or(u32::MAX),
            path,
        }));
        Ok(())
    }

    fn tell(&self, event: Encoded) {
        // Nobody listens any more when the tool has failed already.
        let _ = self.events.send(event);
    }
}

impl From<BoxError> for ToolError {
    fn from(error: BoxError) -> Self {
        Self::new(
            ErrorClass::Bug,
            "segment_broken",
            format!("the encoder gave frames that make no segment: {error}"),
        )
    }
}

/// Nanoseconds as ticks, to the nearest.
pub(super) fn ticks_of(time_ns: u64, timescale: u32) -> u64 {
    scale(time_ns, timescale.into(), 1_000_000_000)
}

/// Ticks as nanoseconds, to the nearest; [`ticks_of`] gives the ticks back for every timescale
/// below 500 MHz.
pub(super) fn ns_of(ticks: u64, timescale: u32) -> u64 {
    scale(ticks, 1_000_000_000, timescale.into())
}

/// `value * num / den`, to the nearest.
fn scale(value: u64, num: u64, den: u64) -> u64 {
    let scaled = (u128::from(value) * u128::from(num) + u128::from(den) / 2) / u128::from(den);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Tells progress, at most twice a second.
#[derive(Debug)]
pub(super) struct Meter {
    from_ns: u64,
    to_ns: u64,
    started: Instant,
    told: Instant,
}

impl Meter {
    /// A meter of the media time from `from_ns` to `to_ns`.
    pub(super) fn new(from_ns: u64, to_ns: u64) -> Self {
        let now = Instant::now();
        Self {
            from_ns,
            to_ns: to_ns.max(from_ns + 1),
            started: now,
            told: now,
        }
    }

    /// The progress at media time `at_ns`, if it is due.
    pub(super) fn due(&mut self, counter: u64, at_ns: u64) -> Option<Progress> {
        if self.told.elapsed() < PROGRESS_INTERVAL {
            return None;
        }
        self.told = Instant::now();
        Some(self.progress(counter, at_ns))
    }

    /// The progress at media time `at_ns`.
    pub(super) fn progress(&self, counter: u64, at_ns: u64) -> Progress {
        let done_s = seconds(at_ns.clamp(self.from_ns, self.to_ns) - self.from_ns);
        let all_s = seconds(self.to_ns - self.from_ns);
        let wall_s = self.started.elapsed().as_secs_f64().max(1e-3);
        let speed = done_s / wall_s;
        Progress {
            counter,
            percent: Some(100.0 * done_s / all_s),
            media_s: Some(seconds(at_ns)),
            fps: Some(counter as f64 / wall_s),
            speed: Some(speed),
            eta_s: (speed > 0.0).then(|| (all_s - done_s) / speed),
        }
    }
}

/// Nanoseconds as seconds, for people.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_survive_the_way_through_nanoseconds() {
        for timescale in [24_000, 30_000, 48_000, 44_100, 90_000, 1_000_000] {
            for ticks in [0, 1, 1001, 2002, 123_456_789, 10_000_000_001] {
                assert_eq!(ticks_of(ns_of(ticks, timescale), timescale), ticks);
            }
        }
    }
}
