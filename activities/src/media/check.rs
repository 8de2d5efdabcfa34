//! Checks a set as it is stored: lints every file of it, then decodes every frame.

mod complaints;
mod decode;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use crate::lint::{
    Directory, MAX_HEADER_BYTES, MAX_SEGMENT_BYTES, Part, Place, Profile, Recorded, Report, Rule,
    SetError, SetReader, Terms, Track, lint,
};
use crate::tool::{Emitter, Tool, ToolError};
use complaints::Complaints;
use decode::{DecodeError, Decoding};

/// Lints a set, and decodes what can be decoded.
#[derive(Debug)]
pub struct CheckSet;

/// Which set, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The directory of the set.
    pub root: PathBuf,
    /// The playlist to begin with, and the WebVTT of thumbnails, relative to it.
    pub entries: Vec<String>,
    /// Which rules are errors.
    pub profile: Profile,
    /// What was recorded when the set was made, if that is known.
    pub recorded: Option<Recorded>,
    /// Whether to decode.
    pub decode: bool,
}

impl Tool for CheckSet {
    const NAME: &'static str = "check";
    type Spec = Spec;
    type Event = ();
    type Output = Report;

    /// # Errors
    /// If a file that is there cannot be read. A set that breaks rules is no error.
    fn run(spec: Spec, emit: &Emitter<()>) -> Result<Report, ToolError> {
        let set = Directory::open(&spec.root).map_err(unreadable)?;
        let mut tell = |report: &Report| emit.progress(linted(report));
        let terms = Terms {
            profile: spec.profile,
            recorded: spec.recorded.as_ref(),
        };
        let linted = lint(&set, &spec.entries, terms, &mut tell).map_err(unreadable)?;
        let mut report = linted.report;
        if !spec.decode {
            return Ok(report);
        }
        super::gst::init()?;
        let complaints = Complaints::listen();
        for track in &linted.tracks {
            decode(&set, track, &mut report, emit)?;
            if let Some(complaint) = complaints.take() {
                let message = format!("the decoder had to guess: {complaint}");
                say(&track.playlist, message, &mut report);
            }
        }
        Ok(report)
    }
}

fn unreadable(error: io::Error) -> ToolError {
    ToolError::io("read a file of the set", error)
}

/// Decodes a track, and notes what of it does not decode.
fn decode(
    set: &Directory,
    track: &Track,
    report: &mut Report,
    emit: &Emitter<()>,
) -> Result<(), ToolError> {
    let before = report.clone();
    let tell = |decoded: u64| emit.progress(progress(&before, decoded));
    match decoded(set, track, tell) {
        Ok(counts) => {
            report.decoded += counts.iter().sum::<u64>();
            compare(track, &counts, report);
            Ok(())
        }
        Err(DecodeError::Undecodable(message)) => {
            say(&track.playlist, message, report);
            Ok(())
        }
        Err(DecodeError::Tool(error)) => Err(error),
    }
}

/// How many samples came out of each segment.
fn decoded(set: &Directory, track: &Track, tell: impl Fn(u64)) -> Result<Vec<u64>, DecodeError> {
    let (path, part) = &track.header;
    let decoding = Decoding::start(track, read(set, (path, *part), MAX_HEADER_BYTES)?)?;
    for segment in &track.segments {
        let (path, part) = &segment.file;
        decoding.push(read(set, (path, *part), MAX_SEGMENT_BYTES)?)?;
        tell(decoding.decoded());
    }
    decoding.finish(tell)
}

/// Reads a file again that was read before.
fn read(set: &Directory, (path, part): (&str, Part), limit: u64) -> Result<Vec<u8>, ToolError> {
    set.read(path, part, limit).map_err(|error| match error {
        SetError::Io(error) => unreadable(error),
        other => unreadable(io::Error::other(format!("{path}: {other}"))),
    })
}

/// Every sample has to come out. Which segment lacks some is told by their times, which foreign
/// edits and priming may shift by a few: only the sum is a rule.
fn compare(track: &Track, counts: &[u64], report: &mut Report) {
    let samples = |samples: u32| u64::from(samples);
    let expected: u64 = track.segments.iter().map(|s| samples(s.samples)).sum();
    let found: u64 = counts.iter().sum();
    let priming = track.audio.map_or(0, |packets| packets.priming);
    if (expected.saturating_sub(priming)..=expected).contains(&found) {
        return;
    }
    let mut pairs = track.segments.iter().zip(counts);
    let short = pairs.find(|(segment, count)| samples(segment.samples) != **count);
    let file = short.map_or(&track.playlist, |(segment, _)| &segment.file.0);
    let at = (Place::default(), "samples that decode without an error");
    let mut report = report.file(file);
    report.differs(Rule::Decode, at, expected, found);
}

fn say(file: &str, message: String, report: &mut Report) {
    let mut report = report.file(file);
    report.say(Rule::Decode, Place::default(), message);
}

/// Segments that were read, and samples that were decoded. Decoding takes nearly all of the time.
fn progress(report: &Report, decoded: u64) -> Progress {
    let done = report.decoded + decoded;
    Progress {
        counter: u64::from(report.segments) + done,
        percent: Some(100.0 * done as f64 / report.samples.max(1) as f64),
        ..Progress::default()
    }
}

fn linted(report: &Report) -> Progress {
    Progress {
        counter: report.segments.into(),
        ..Progress::default()
    }
}
