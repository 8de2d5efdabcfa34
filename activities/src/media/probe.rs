//! What a source is: every fact that the later steps need, and the refusal of every source that
//! they could not turn into something whole.
//!
//! In order: the first bytes ([`sniff`]), the boxes or headers (`isobmff`, `extent`),
//! all packets once without decoding them (`packets`), a few decoded frames (`picture`).

mod describe;
mod extent;
mod hash;
mod language;
mod limits;
mod packets;
mod picture;
mod scrambling;
mod sound;
mod timing;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ErrorClass, Progress};

use self::extent::Extent;
use self::hash::Hashing;
use self::packets::{Packets, StreamLog};
use super::demux::{self, Kind};
use super::isobmff::{self, Movie, Track};
use super::report::Report;
use super::sniff::{self, Container};
use crate::tool::{Emitter, Tool, ToolError};

/// Finds out what a source is.
#[derive(Debug)]
pub struct Probe;

/// Which source, and the grid it will be cut on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// The source file.
    pub source: PathBuf,
    /// Length of a segment, for [`VideoTrack::cuts_ns`](super::report::VideoTrack::cuts_ns).
    pub segment_ns: u64,
}

impl Tool for Probe {
    const NAME: &'static str = "probe";
    type Spec = ProbeSpec;
    type Event = ();
    type Output = Report;

    /// # Errors
    /// Class `input`: `empty_source`, `not_media`, `not_video`, `playlist_refused`,
    /// `malformed_source`, `source_truncated`, `encrypted_source`, `codec_unsupported`,
    /// `hdr_unsupported`, `no_streams`, `no_frames`, `too_many_pixels`, `too_long`,
    /// `too_many_streams`, `too_many_frames`. Class `stalled`: `no_progress`.
    fn run(spec: ProbeSpec, emit: &Emitter<()>) -> Result<Report, ToolError> {
        let container = sniff::sniff(&spec.source)?;
        let source = Source::inspect(&spec.source, container)?;
        let (sha256, packets) = read(&spec.source, container, source.bytes, emit)?;
        source.check_complete(&packets)?;
        report(&spec, &source, sha256, &packets)
    }
}

/// A file and what its own structure says.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    container: Container,
    bytes: u64,
    movie: Option<Movie>,
    extent: Extent,
}

impl Source {
    fn inspect(path: &Path, container: Container) -> Result<Self, ToolError> {
        let failed = |error| ToolError::io("read the source", error);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let (movie, extent) = if container.is_isobmff() {
            (Some(isobmff::inspect(&mut file, bytes)?), Extent::default())
        } else {
            (None, extent::inspect(&mut file, bytes, container)?)
        };
        Ok(Self {
            path: path.to_owned(),
            container,
            bytes,
            movie,
            extent,
        })
    }

    /// The track of a stream, whose name ends with the track's number.
    fn track(&self, stream: &StreamLog) -> Option<&Track> {
        let number: u32 = stream.stream_id.rsplit('/').next()?.parse().ok()?;
        let tracks = &self.movie.as_ref()?.tracks;
        tracks.iter().find(|track| track.id == number)
    }

    /// Refuses a source whose data ends before its headers say.
    fn check_complete(&self, packets: &Packets) -> Result<(), ToolError> {
        let end = self.end_ns(packets);
        let promised = self.promised_ns(packets).filter(|promised| {
            let tolerance = (promised / 100).max(1_000_000_000);
            *promised > end + tolerance
        });
        if self.extent.cut || promised.is_some() {
            return Err(truncated(end, promised));
        }
        match &packets.error {
            None => Ok(()),
            Some(error) if end == 0 => Err(error.clone()),
            Some(error) => Err(ToolError::new(
                error.class,
                &*error.code,
                format!("{} (at second {:.2})", error.message, seconds(end)),
            )),
        }
    }

    /// Whether nothing says that a source ends where it does, or its own count says that it does not, by
    /// too little to refuse it.
    fn is_end_doubtful(&self, packets: &Packets) -> bool {
        /// Two frames of MP3, which writers count or do not, and one of usual FLAC.
        const UNCOUNTED_NS: u64 = 150_000_000;
        let counted = (self.extent.lasts_ns)
            .map(|lasts_ns| packets.since_origin(Duration::from_nanos(lasts_ns)));
        let lacks_time = |counted| counted > self.end_ns(packets) + UNCOUNTED_NS;
        self.extent.unmarked || counted.is_some_and(lacks_time)
    }

    fn end_ns(&self, packets: &Packets) -> u64 {
        let seen = packets.since_origin(Duration::from_nanos(self.extent.seen_ns));
        let ends = packets.streams.iter().map(|stream| stream.end_ns);
        ends.chain([seen]).max().unwrap_or(0)
    }

    /// The length that the header claims.
    fn declared_ns(&self, packets: &Packets) -> Option<u64> {
        match &self.movie {
            Some(movie) => Some(packets.since_origin(movie.duration?)),
            None => packets.declared_ns,
        }
    }

    /// The length that the file has to have. Streams without a header only have an estimate; the
    /// sample tables of an MP4 file were already compared with the file.
    fn promised_ns(&self, packets: &Packets) -> Option<u64> {
        match self.container {
            Container::MpegTs { .. } | Container::MpegPs | Container::Ogg | Container::Adts => None,
            Container::Mp3 | Container::Flac => {
                let stated = Duration::from_nanos(self.extent.lasts_ns?);
                Some(packets.since_origin(stated))
            }
            container if container.is_isobmff() => {
                let stated = self.movie.as_ref()?.fragments_duration?;
                Some(packets.since_origin(stated))
            }
            _ => packets.declared_ns,
        }
    }
}

fn truncated(end_ns: u64, promised_ns: Option<u64>) -> ToolError {
    let end = seconds(end_ns);
    let missing = promised_ns.map_or_else(String::new, |promised| {
        let (promised, missing) = (seconds(promised), seconds(promised - end_ns));
        format!(" of {promised:.2} ({missing:.2} s are missing)")
    });
    ToolError::input(
        "source_truncated",
        format!(
            "the source is cut short: its data ends at second {end:.2}{missing}; upload it again"
        ),
    )
}

/// What is said of a file that may be cut, but need not be.
fn end_unmarked(packets: &Packets) -> String {
    format!(
        "end_unmarked: the end of the file is not marked or its last frame is not whole: it may be cut \
         at second {:.2}; upload it again if it was longer",
        seconds(duration_ns(&packets.streams))
    )
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

/// Hashes the file and reads its packets, at the same time.
fn read(
    path: &Path,
    container: Container,
    file_bytes: u64,
    emit: &Emitter<()>,
) -> Result<(String, Packets), ToolError> {
    let hashing = Hashing::default();
    std::thread::scope(|scope| {
        let hash = scope.spawn(|| hashing.run(path));
        let packets = packets::read(path, container, &|packets| {
            let hashed = hashing.read.load(Ordering::Relaxed);
            emit.progress(Progress {
                counter: packets + hashed,
                percent: Some(hashed as f64 / file_bytes.max(1) as f64 * 100.0),
                ..Progress::default()
            });
        });
        hashing.stop.store(packets.is_err(), Ordering::Relaxed);
        let hash = hash.join().map_err(|_| interrupted())?;
        let packets = packets?;
        Ok((hash?.ok_or_else(interrupted)?, packets))
    })
}

fn interrupted() -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "hash_interrupted",
        "hashing the source ended early",
    )
}

fn report(
    spec: &ProbeSpec,
    source: &Source,
    sha256: String,
    packets: &Packets,
) -> Result<Report, ToolError> {
    let streams = &packets.streams;
    check_limits(streams)?;
    let mut warnings = Vec::new();
    warnings.extend(broken_container(packets)?);
    warnings.extend(
        source
            .is_end_doubtful(packets)
            .then(|| end_unmarked(packets)),
    );
    let grid = picture::Grid {
        segment_ns: spec.segment_ns,
        declared_ns: source.declared_ns(packets),
    };
    let picture = picture::find(streams)
        .map(|stream| picture::describe(source, stream, grid, &mut warnings))
        .transpose()?;
    let audio = sound::describe(source, streams, &mut warnings)?;
    if picture.is_none() && audio.is_empty() {
        return Err(ToolError::input(
            "no_streams",
            "the source holds neither video nor audio",
        ));
    }
    let ends = picture.iter().map(|picture| picture.track.end_ns);
    Ok(Report {
        duration_ns: (ends.chain(audio.iter().map(|track| track.end_ns)))
            .max()
            .unwrap_or(0),
        size_bytes: source.bytes,
        sha256,
        container: source.container.name().to_owned(),
        chunkable: picture.as_ref().is_some_and(|picture| picture.chunkable),
        video: picture.map(|picture| picture.track),
        audio,
        subtitles: u32::try_from(of_kind(streams, Kind::Subtitle).count()).unwrap_or(u32::MAX),
        warnings,
    })
}

/// What is said of a file that had to be read across damaged places.
///
/// # Errors
/// `source_damaged` if most of the picture lies in them.
fn broken_container(packets: &Packets) -> Result<Option<String>, ToolError> {
    /// A longer time without a picture counts as lost.
    const LONGEST_PAUSE_NS: u64 = 1_000_000_000;
    if packets.breaks == 0 {
        return Ok(None);
    }
    let picture = picture::find(&packets.streams);
    let mut times: Vec<u64> = picture
        .iter()
        .flat_map(|stream| stream.frames.iter().map(|frame| frame.time_ns))
        .collect();
    times.sort_unstable();
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    let lost: u64 = pauses.filter(|pause| *pause > LONGEST_PAUSE_NS).sum();
    let end = times.last().copied().unwrap_or(0);
    if lost > end / 2 {
        return Err(ToolError::input(
            "source_damaged",
            format!(
                "the source is mostly broken: {:.1} of {:.1} s have no picture; export or upload \
                 it again",
                seconds(lost),
                seconds(end)
            ),
        ));
    }
    Ok(Some(format!(
        "damaged_container: the file is damaged in {} places, and what lies there is lost; export \
         or upload it again",
        packets.breaks
    )))
}

fn of_kind(streams: &[StreamLog], kind: Kind) -> impl Iterator<Item = &StreamLog> {
    streams.iter().filter(move |stream| stream.kind == kind)
}

fn duration_ns(streams: &[StreamLog]) -> u64 {
    of_kind(streams, Kind::Video)
        .chain(of_kind(streams, Kind::Audio))
        .map(|stream| stream.end_ns)
        .max()
        .unwrap_or(0)
}

fn check_limits(streams: &[StreamLog]) -> Result<(), ToolError> {
    let encrypted = streams.iter().any(|stream| {
        let name = stream
            .container_caps
            .structure(0)
            .map(|s| s.name().as_str());
        matches!(name, Some("application/x-webm-enc" | "application/x-cenc"))
    });
    if encrypted {
        return Err(demux::encrypted());
    }
    let duration = duration_ns(streams);
    if duration > limits::MAX_DURATION_NS {
        return Err(ToolError::input(
            "too_long",
            format!(
                "the source is {:.1} hours long; the limit is 24 hours",
                seconds(duration) / 3600.0
            ),
        ));
    }
    Ok(())
}
