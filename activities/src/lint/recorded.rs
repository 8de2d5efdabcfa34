//! What was recorded when a set was made, and whether it is still true.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use telecine_engine::objects::Artifact;

use super::across::Renditions;
use super::header::{Header, Media};
use super::rendition::Rendition;
use super::report::{FileReport, Place, Report};
use super::rules::Rule;
use crate::media::renditions::{Rendition as Encoded, Track};

/// How far the end of the video may be from that of the source, beside one frame: what
/// containers round.
const END_TOLERANCE_S: f64 = 0.002;

/// How far the end of the sound may be from that of the source: sound ends with a whole packet
/// (21 ms at 48 kHz).
const AUDIO_TOLERANCE_S: f64 = 0.050;

/// What the makers of a set know of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// Every file by its path in the set.
    pub files: BTreeMap<String, Artifact>,
    /// Renditions by the path of their playlist.
    pub renditions: BTreeMap<String, Encoded>,
    /// End of the source's presentation, in seconds.
    pub duration_s: f64,
    /// How long a frame of the source lasts, in seconds.
    pub frame_s: f64,
}

impl Recorded {
    /// Compares the bytes of a file with what was written.
    pub(super) fn check_file(&self, path: &str, bytes: &[u8], report: &mut FileReport<'_>) {
        let Some(Artifact { size, sha256, .. }) = self.files.get(path) else {
            report.say(
                Rule::RecordedFile,
                Place::FILE,
                "this file was not made with the set",
            );
            return;
        };
        if bytes.len() as u64 != *size {
            let at = (Place::FILE, "the size in bytes");
            report.equal(Rule::RecordedDigest, at, *size, bytes.len() as u64);
            return;
        }
        let digest = Sha256::digest(bytes);
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let at = (Place::FILE, "the SHA-256 of its bytes");
        report.equal(Rule::RecordedDigest, at, sha256.as_str(), &found);
    }

    /// Compares everything else, once the set has been read.
    pub(super) fn check(
        &self,
        read: &BTreeSet<String>,
        renditions: &Renditions,
        report: &mut Report,
    ) {
        for path in self.files.keys().filter(|path| !read.contains(*path)) {
            let what = "the playlists do not lead to this file";
            report.file(path).say(Rule::RecordedFile, Place::FILE, what);
        }
        for (path, encoded) in &self.renditions {
            if let Some(found) = renditions.get(path) {
                compare(found, encoded, report);
                self.check_duration(found, report);
            }
        }
    }

    fn check_duration(&self, found: &Rendition, report: &mut Report) {
        let Some((header, duration)) = found.header().zip(found.duration_s()) else {
            return;
        };
        let tolerance = match header.media {
            Media::Audio(_) => AUDIO_TOLERANCE_S,
            _ => self.frame_s + END_TOLERANCE_S,
        };
        if (duration - self.duration_s).abs() > tolerance {
            let at = (Place::FILE, "the duration of the source");
            let (source, own) = (
                format!("{:.3} s", self.duration_s),
                format!("{duration:.3} s"),
            );
            report
                .file(&found.file)
                .differs(Rule::RecordedDuration, at, source, own);
        }
    }
}

const FACTS: Rule = Rule::RecordedFacts;

fn compare(found: &Rendition, encoded: &Encoded, report: &mut Report) {
    let mut report = report.file(&found.file);
    if let Some(header) = found.header() {
        compare_header(header, &encoded.track, &mut report);
    }
    let at = (Place::FILE, "the number of segments");
    report.equal(FACTS, at, encoded.segments.len(), found.segments.len());
    for (segment, recorded) in found.segments.iter().zip(&encoded.segments) {
        let Some(segment) = segment else { continue };
        let own = (
            segment.number,
            segment.start,
            segment.duration,
            segment.samples,
        );
        let (number, start) = (recorded.number, recorded.start_ticks);
        let wanted = (number, start, recorded.duration_ticks, recorded.samples);
        if own != wanted {
            let what = "number, start, duration and samples of a segment";
            let at = (Place::FILE, what);
            report.differs(FACTS, at, format!("{wanted:?}"), format!("{own:?}"));
        }
    }
}

fn compare_header(header: &Header, track: &Track, report: &mut FileReport<'_>) {
    let codec = header.codec().unwrap_or_default();
    report.equal(
        FACTS,
        (Place::FILE, "the codec"),
        track.codecs.as_str(),
        &codec,
    );
    let at = (Place::FILE, "the timescale");
    report.equal(FACTS, at, track.timescale, header.timescale);
    if let (Some(facts), Some(video)) = (&track.video, header.video()) {
        let text = |width: u32, height: u32| format!("{width}x{height}");
        let size = text(facts.size.width, facts.size.height);
        let at = (Place::FILE, "the picture size");
        report.equal(FACTS, at, size, text(video.size.0, video.size.1));
    }
    if let (Some(facts), Some(audio)) = (&track.audio, header.audio()) {
        let at = (Place::FILE, "channels and sample rate");
        let text = |channels: u32, rate: u32| format!("{channels} at {rate} Hz");
        let expected = text(facts.channels, facts.sample_rate);
        report.equal(FACTS, at, expected, text(audio.channels, audio.rate));
    }
    let kinds = (track.video.is_some(), track.audio.is_some());
    if kinds != (header.video().is_some(), header.audio().is_some()) {
        report.say(
            FACTS,
            Place::FILE,
            "it is another kind of media than was encoded",
        );
    }
}
