//! What has to be true of a rendition. Pure.

use std::fmt::Display;

use mp4_atom::FourCC;
use telecine_engine::activity::ErrorClass;

use super::Spec;
use crate::media::boxes::{Fragment, Header, Media};
use crate::media::renditions::{Segment, Track};
use crate::tool::ToolError;

/// The brand of CMAF headers, and that of CMAF segments (ISO/IEC 23000-19).
const HEADER_BRAND: FourCC = FourCC::new(b"cmfc");
const SEGMENT_BRAND: FourCC = FourCC::new(b"cmfs");

/// Something that has to be true of a rendition. The name stands in the error's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The header is one of one H.264 or AAC track.
    HeaderReadable,
    /// It says that it is CMAF.
    HeaderBrand,
    /// Its timescale, codec and picture size or channels are those that playlists tell.
    HeaderFacts,
    /// A segment has one fragment of one track.
    SegmentReadable,
    /// It says that it is CMAF.
    SegmentBrand,
    /// Its sequence number is its place.
    SegmentNumber,
    /// Its first decode time is the end of the segment before it.
    SegmentStart,
    /// Its samples last as long as its playlist entry says.
    SegmentDuration,
    /// It has the recorded number of samples.
    SegmentSamples,
    /// Decoding can begin with it.
    SegmentSync,
    /// It is shown from its start on and before its end.
    SegmentShown,
    /// Its samples are its data.
    SegmentData,
    /// Each of its samples decodes.
    SegmentDecodes,
}

impl Rule {
    fn as_str(self) -> &'static str {
        match self {
            Self::HeaderReadable => "header_readable",
            Self::HeaderBrand => "header_brand",
            Self::HeaderFacts => "header_facts",
            Self::SegmentReadable => "segment_readable",
            Self::SegmentBrand => "segment_brand",
            Self::SegmentNumber => "segment_number",
            Self::SegmentStart => "segment_start",
            Self::SegmentDuration => "segment_duration",
            Self::SegmentSamples => "segment_samples",
            Self::SegmentSync => "segment_sync",
            Self::SegmentShown => "segment_shown",
            Self::SegmentData => "segment_data",
            Self::SegmentDecodes => "segment_decodes",
        }
    }

    /// A violation of this rule.
    pub(super) fn says(self, what: impl Display) -> Violation {
        Violation {
            rule: self,
            segment: None,
            what: what.to_string(),
        }
    }

    fn holds(self, holds: bool, what: impl Display) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(self.says(what)) }
    }

    fn equal<T: PartialEq + Display>(self, found: T, recorded: T) -> Result<(), Violation> {
        let differ = format!("{found} found, {recorded} recorded");
        self.holds(found == recorded, differ)
    }
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    rule: Rule,
    segment: Option<u32>,
    what: String,
}

impl Violation {
    pub(super) fn in_segment(self, number: u32) -> Self {
        Self {
            segment: Some(number),
            ..self
        }
    }

    /// The error of the attempt.
    pub(super) fn in_rendition(self, name: &str) -> ToolError {
        let place = match self.segment {
            Some(number) => format!("segment {number} of {name}"),
            None => name.to_owned(),
        };
        let message = format!(
            "{place} breaks the rule {}: {}",
            self.rule.as_str(),
            self.what
        );
        ToolError::new(ErrorClass::Bug, "package_invalid", message)
    }
}

/// Compares a header with what was recorded.
pub(super) fn check_header(header: &Header, track: &Track) -> Result<(), Violation> {
    Rule::HeaderBrand.holds(
        header.brands.contains(&HEADER_BRAND),
        "it lacks the brand cmfc",
    )?;
    let facts = Rule::HeaderFacts;
    facts.equal(header.timescale, track.timescale)?;
    facts.equal(header.codecs.as_str(), track.codecs.as_str())?;
    let same = match (header.media, &track.video, &track.audio) {
        (Media::Video { size, .. }, Some(video), None) => size == video.size,
        (Media::Audio { channels }, None, Some(audio)) => {
            channels == audio.channels && header.timescale == audio.sample_rate
        }
        _ => false,
    };
    facts.holds(
        same,
        "picture size, channels or sample rate differ from what was recorded",
    )
}

/// Compares a segment with what was recorded.
pub(super) fn check_segment(found: &Fragment, recorded: &Segment) -> Result<(), Violation> {
    compare(found, recorded).map_err(|violation| violation.in_segment(recorded.number))
}

fn compare(found: &Fragment, recorded: &Segment) -> Result<(), Violation> {
    Rule::SegmentBrand.holds(
        found.brands.contains(&SEGMENT_BRAND),
        "it lacks the brand cmfs",
    )?;
    Rule::SegmentNumber.equal(found.number, recorded.number)?;
    Rule::SegmentStart.equal(found.start_ticks, recorded.start_ticks)?;
    Rule::SegmentDuration.equal(found.duration_ticks, recorded.duration_ticks)?;
    Rule::SegmentSamples.equal(found.samples, recorded.samples)?;
    Rule::SegmentSync.holds(found.begins_with_sync, "decoding cannot begin with it")?;
    Rule::SegmentShown.holds(
        is_shown_inside(found),
        "it is not shown from its start on, or beyond its end",
    )?;
    Rule::SegmentData.holds(
        found.base_is_moof && found.fills_data,
        "its samples are not its data",
    )
}

fn is_shown_inside(fragment: &Fragment) -> bool {
    let start = i64::try_from(fragment.start_ticks).ok();
    let end = start.map(|start| start.saturating_add_unsigned(fragment.duration_ticks));
    fragment.first_shown_ticks == start && fragment.last_shown_ticks < end
}

/// Compares how many samples came out of each segment with how many are in it.
pub(super) fn check_decoded(spec: &Spec, decoded: &[u64]) -> Result<(), Violation> {
    for (stored, decoded) in spec.segments.iter().zip(decoded) {
        let Segment {
            number, samples, ..
        } = stored.segment;
        Rule::SegmentDecodes
            .equal(*decoded, u64::from(samples))
            .map_err(|violation| violation.in_segment(number))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use telecine_engine::objects::Artifact;

    use super::*;

    fn fragment() -> Fragment {
        Fragment {
            brands: vec![SEGMENT_BRAND],
            number: 2,
            start_ticks: 600,
            duration_ticks: 600,
            samples: 15,
            first_shown_ticks: Some(600),
            last_shown_ticks: Some(1160),
            base_is_moof: true,
            fills_data: true,
            begins_with_sync: true,
        }
    }

    fn recorded() -> Segment {
        Segment {
            number: 2,
            start_ticks: 600,
            duration_ticks: 600,
            samples: 15,
            object: Artifact {
                key: "k".to_owned(),
                size: 1,
                sha256: String::new(),
                media_type: String::new(),
            },
        }
    }

    #[test]
    fn a_segment_as_recorded_breaks_no_rule() {
        assert_eq!(check_segment(&fragment(), &recorded()), Ok(()));
    }

    #[test]
    fn each_difference_breaks_its_rule() {
        type Change = fn(&mut Fragment);
        let cases: [(Rule, Change); 9] = [
            (Rule::SegmentBrand, |f| f.brands.clear()),
            (Rule::SegmentNumber, |f| f.number = 3),
            (Rule::SegmentStart, |f| f.start_ticks = 601),
            (Rule::SegmentDuration, |f| f.duration_ticks = 599),
            (Rule::SegmentSamples, |f| f.samples = 14),
            (Rule::SegmentSync, |f| f.begins_with_sync = false),
            (Rule::SegmentShown, |f| f.first_shown_ticks = Some(640)),
            (Rule::SegmentShown, |f| f.last_shown_ticks = Some(1200)),
            (Rule::SegmentData, |f| f.fills_data = false),
        ];
        for (rule, change) in cases {
            let mut found = fragment();
            change(&mut found);
            let violation = check_segment(&found, &recorded()).unwrap_err();
            assert_eq!((violation.rule, violation.segment), (rule, Some(2)));
        }
    }

    #[test]
    fn an_error_names_place_and_rule() {
        let error = Rule::SegmentStart
            .equal(1, 2)
            .unwrap_err()
            .in_segment(7)
            .in_rendition("r720_h264");
        assert_eq!(
            error.message,
            "segment 7 of r720_h264 breaks the rule segment_start: 1 found, 2 recorded"
        );
    }
}
