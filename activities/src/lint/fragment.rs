//! CMAF segments: `styp`, `moof` and `mdat` (ISO/IEC 23000-19, 7.3.2.3), one after the other.

mod run;
mod track;
mod video;

use super::LATEST;
use super::boxes::{BoxView, Children, Layout, MAX_SIBLINGS};
use super::header::{Header, Media, brands};
use super::report::{FileReport, Place};
use super::rules::Rule;

use run::{Run, Sample};
pub(super) use track::TrackSoFar;

/// What a segment turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Size of its file, or of its part of it.
    pub(super) bytes: u64,
    /// Number of its first fragment.
    pub(super) number: u32,
    /// Decode time of its first sample, in ticks.
    pub(super) start: u64,
    /// Durations of all samples, in ticks.
    pub(super) duration: u64,
    pub(super) samples: u32,
    /// Ticks per second.
    pub(super) timescale: u32,
}

impl Segment {
    /// How long its samples last.
    pub(super) fn seconds(&self) -> f64 {
        self.duration as f64 / f64::from(self.timescale)
    }
}

const FILE: Layout = Layout {
    boxes: &[
        (b"styp", 0, 1),
        (b"sidx", 0, MAX_SIBLINGS),
        (b"prft", 0, MAX_SIBLINGS),
        (b"emsg", 0, MAX_SIBLINGS),
        (b"moof", 1, MAX_SIBLINGS),
        (b"mdat", 1, MAX_SIBLINGS),
    ],
    ordered: false,
};

const MOOF: Layout = Layout {
    boxes: &[(b"mfhd", 1, 1), (b"traf", 1, usize::MAX), (b"pssh", 0, 64)],
    ordered: true,
};

const TRAF: Layout = Layout {
    boxes: &[
        (b"tfhd", 1, 1),
        (b"tfdt", 1, 1),
        (b"trun", 1, 1024),
        (b"senc", 0, 1),
        (b"saiz", 0, 8),
        (b"saio", 0, 8),
        (b"sbgp", 0, 64),
        (b"sgpd", 0, 64),
        (b"subs", 0, 8),
    ],
    ordered: false,
};

/// Brands of CMAF segments, fragments and the last segment.
const BRANDS: [&[u8; 4]; 3] = [b"cmfs", b"cmff", b"cmfl"];

/// Samples of a segment that are read. A second of audio at 96 kHz has 94.
const MAX_SAMPLES: usize = 1_000_000;

/// One track fragment.
struct Fragment {
    number: u32,
    start: u64,
    samples: Vec<Sample>,
    place: Place,
}

/// Reads a segment of the track that `header` describes; `None` if it cannot be judged further.
pub(super) fn read(
    bytes: &[u8],
    header: &Header,
    so_far: &mut TrackSoFar,
    report: &mut FileReport<'_>,
) -> Option<Segment> {
    let file = Children::of_file(bytes, &FILE, report);
    check_start(&file, report);
    let mut segment: Option<Segment> = None;
    let mut boxes = file.iter().peekable();
    while let Some(moof) = boxes.find(|found| found.kind == *b"moof") {
        let Some(mdat) = boxes.next_if(|found| found.kind == *b"mdat") else {
            report.say(Rule::BoxOrder, moof.place(), "no mdat follows it");
            return None;
        };
        let before = segment.map_or(0, |segment| segment.samples as usize);
        let fragment = fragment((moof, mdat, before), header, report)?;
        so_far.check(&fragment, header, segment.is_none(), report);
        if let Media::Video(video) = &header.media
            && let Some(avc) = &video.avc
        {
            video::check(&fragment, (avc, mdat), segment.is_none(), so_far, report);
        }
        let size = bytes.len() as u64;
        segment = Some(join(segment, &fragment, (size, header.timescale)));
    }
    if let (Some(segment), Some(moof)) = (&segment, file.one(b"moof")) {
        so_far.end_segment(segment, header, (&moof.place(), report));
    }
    if segment.is_none() && file.one(b"moof").is_some() {
        report.say(Rule::BoxOrder, Place::FILE, "no mdat follows the moof");
    }
    segment
}

fn join(before: Option<Segment>, fragment: &Fragment, (bytes, timescale): (u64, u32)) -> Segment {
    let duration: u64 = fragment.samples.iter().map(|s| u64::from(s.duration)).sum();
    let samples = u32::try_from(fragment.samples.len()).unwrap_or(u32::MAX);
    match before {
        Some(before) => Segment {
            duration: before.duration.saturating_add(duration),
            samples: before.samples.saturating_add(samples),
            ..before
        },
        None => Segment {
            bytes,
            number: fragment.number,
            start: fragment.start,
            duration,
            samples,
            timescale,
        },
    }
}

/// A segment begins with its type.
fn check_start(file: &Children<'_>, report: &mut FileReport<'_>) {
    let mut orphans = file.iter().zip(file.iter().skip(1));
    let orphan = orphans.find(|(a, b)| b.kind == *b"mdat" && a.kind != *b"moof");
    if let Some((_, orphan)) = orphan {
        report.say(Rule::BoxOrder, orphan.place(), "no moof stands before it");
    }
    let Some(styp) = file.one(b"styp") else {
        say_brand(Place::FILE, "the segment has no styp", report);
        return;
    };
    if styp.offset != 0 {
        report.say(
            Rule::BoxOrder,
            styp.place(),
            "it is not at the start of the segment",
        );
    }
    let found = brands(styp, report).unwrap_or_default();
    if !found.iter().any(|brand| BRANDS.contains(&brand)) {
        let what = "the segment has none of the brands cmfs, cmff, cmfl";
        say_brand(styp.place(), what, report);
    }
}

/// The type of a segment may be left out. Of a track that does not claim CMAF, the header has said
/// so already.
fn say_brand(place: Place, what: &str, report: &mut FileReport<'_>) {
    if report.is_cmaf() {
        report.house().say(Rule::CmafBrand, place, what);
    }
}

/// What a `tfhd` says.
struct FragmentHeader {
    flags: u32,
    track: u32,
    description: Option<u32>,
    duration: Option<u32>,
    size: Option<u32>,
    sample_flags: Option<u32>,
}

/// Reads a fragment, before which a segment has so many samples.
fn fragment(
    (moof, mdat, before): (&BoxView<'_>, &BoxView<'_>, usize),
    header: &Header,
    report: &mut FileReport<'_>,
) -> Option<Fragment> {
    let boxes = moof.children(&MOOF, report);
    let number = boxes.one(b"mfhd")?.read(report, |fields| {
        fields.full()?;
        fields.u32()
    })?;
    let trafs = boxes.all(b"traf").count();
    if trafs != 1 {
        let what = format!("there are {trafs} track fragments");
        report.one_track(moof.place(), what);
        return None;
    }
    let traf = boxes.one(b"traf")?.children(&TRAF, report);
    let head = fragment_header(traf.one(b"tfhd")?, header, report)?;
    let start = traf.one(b"tfdt").and_then(|tfdt| start(tfdt, report))?;
    let mut samples = Vec::new();
    let mut next_data = mdat.body_offset;
    for trun in traf.all(b"trun") {
        let run = Run::read(trun, report)?;
        if before + samples.len() + run.count() > MAX_SAMPLES {
            report.say(
                Rule::TooMuch,
                trun.place(),
                "it has more than a million samples",
            );
            return None;
        }
        run.check(trun, moof, next_data, report);
        run.append(&mut samples, &head, header);
        let sizes = samples.iter().map(|sample: &Sample| u64::from(sample.size));
        next_data = mdat.body_offset.saturating_add(sizes.sum::<u64>() as usize);
    }
    let sizes: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
    let at = (mdat.place(), "the sizes of the samples");
    report.equal(Rule::CmafSampleSize, at, mdat.body.len() as u64, sizes);
    Some(Fragment {
        number,
        start,
        samples,
        place: moof.place(),
    })
}

/// Flags of `tfhd` that are known (ISO/IEC 14496-12, 8.8.7).
const KNOWN_FLAGS: u32 = 0x03_003b;
const BASE_DATA_OFFSET: u32 = 0x01;
const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
const DURATION_IS_EMPTY: u32 = 0x01_0000;

fn fragment_header(
    tfhd: &BoxView<'_>,
    header: &Header,
    report: &mut FileReport<'_>,
) -> Option<FragmentHeader> {
    let head = tfhd.read(report, |fields| {
        let (_, flags) = fields.full()?;
        let track = fields.u32()?;
        if flags & BASE_DATA_OFFSET != 0 {
            fields.u64()?;
        }
        let mut optional = |bit| {
            if flags & bit == 0 {
                Some(None)
            } else {
                fields.u32().map(Some)
            }
        };
        Some(FragmentHeader {
            flags,
            track,
            description: optional(0x02)?,
            duration: optional(0x08)?,
            size: optional(0x10)?,
            sample_flags: optional(0x20)?,
        })
    })?;
    let place = || tfhd.place();
    report.equal(
        Rule::CmafTrackId,
        (place(), "track_ID"),
        header.track,
        head.track,
    );
    if head.flags & DEFAULT_BASE_IS_MOOF == 0 {
        report.say(Rule::CmafBase, place(), "default-base-is-moof is not set");
    }
    if head.flags & BASE_DATA_OFFSET != 0 {
        report.say(Rule::CmafBase, place(), "it has a base of its own");
    }
    if head.flags & !KNOWN_FLAGS != 0 || head.flags & DURATION_IS_EMPTY != 0 {
        report.say(
            Rule::BoxField,
            place(),
            "it has flags that do not belong here",
        );
    }
    if head.description.is_some_and(|index| index != 1) {
        report.say(
            Rule::BoxField,
            place(),
            "it refers to a sample entry that is not there",
        );
    }
    if head.sample_flags.unwrap_or(0) >> 28 != 0 {
        report.say(
            Rule::BoxField,
            place(),
            "reserved bits of default_sample_flags are not zero",
        );
    }
    Some(head)
}

/// The decode time of the first sample.
fn start(tfdt: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<u64> {
    let (version, start) = tfdt.read(report, |fields| {
        let (version, _) = fields.full()?;
        Some((version, fields.by_version(version)?))
    })?;
    if version != 1 {
        let what = format!("it has version {version}");
        report.say(Rule::CmafTfdt, tfdt.place(), what);
    }
    if start > LATEST {
        report.say(
            Rule::CmafGap,
            tfdt.place(),
            "the decode time makes no sense",
        );
        return None;
    }
    Some(start)
}
