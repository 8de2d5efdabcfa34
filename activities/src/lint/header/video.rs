use super::super::boxes::{BoxView, Children, Fields, Layout};
use super::super::h264::{NAL_PPS, NAL_SPS, Pps, Sps};
use super::super::report::FileReport;
use super::super::rules::Rule;
use super::check_fixed;

/// An H.264 sample entry.
#[derive(Debug)]
pub(in crate::lint) struct VideoEntry {
    /// As the sample entry tells it.
    pub(in crate::lint) size: (u32, u32),
    /// Width to height of a sample.
    pub(in crate::lint) aspect: (u32, u32),
    /// Transfer function, by ISO/IEC 23091-2.
    pub(in crate::lint) transfer: Option<u8>,
    pub(in crate::lint) avc: Option<Avc>,
}

/// A decoder configuration record.
#[derive(Debug)]
pub(in crate::lint) struct Avc {
    /// Profile, compatibility, level.
    pub(in crate::lint) profile: [u8; 3],
    /// Bytes of the length before each NAL unit.
    pub(in crate::lint) length_bytes: usize,
    pub(in crate::lint) sequence: Vec<Sps>,
    pub(in crate::lint) pictures: Vec<Pps>,
    /// The NAL units of the parameter sets.
    pub(in crate::lint) units: Vec<Vec<u8>>,
    /// Whether samples may bring parameter sets of their own (`avc3`).
    pub(in crate::lint) in_band: bool,
}

impl VideoEntry {
    /// Size in square pixels.
    pub(in crate::lint) fn shown(&self) -> (f64, f64) {
        let (across, down) = self.aspect;
        let width = f64::from(self.size.0) * f64::from(across) / f64::from(down.max(1));
        (width, f64::from(self.size.1))
    }
}

const ENTRY: Layout = Layout {
    boxes: &[
        (b"avcC", 1, 1),
        (b"colr", 0, 2),
        (b"pasp", 0, 1),
        (b"clap", 0, 1),
        (b"sinf", 0, 8),
        (b"mdcv", 0, 1),
        (b"clli", 0, 1),
        (b"fiel", 0, 1),
        (b"ccst", 0, 1),
    ],
    ordered: false,
};

/// Bytes of the fields of a visual sample entry.
const FIELDS_BYTES: usize = 78;

pub(super) fn read(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<VideoEntry> {
    let Some(size) = read_fields(found, report) else {
        report.say(
            Rule::BoxSize,
            found.place(),
            "its fields end behind its end",
        );
        return None;
    };
    let boxes = found.children_behind(FIELDS_BYTES, &ENTRY, report);
    let avc = boxes.one(b"avcC").and_then(|record| {
        let in_band = found.kind == *b"avc3";
        let avc = read_record(record, in_band, report);
        if avc.is_none() {
            report.say(Rule::AvcConfig, record.place(), "it is cut off");
        }
        avc
    });
    let sps = avc.as_ref().and_then(|avc| avc.sequence.first());
    let mut entry = VideoEntry {
        size,
        aspect: (1, 1),
        transfer: sps.and_then(|sps| sps.vui.colour).map(|colour| colour[1]),
        avc: None,
    };
    check_aspect(&boxes, sps, &mut entry, report);
    check_colour(&boxes, sps, &mut entry, report);
    if let Some(sps) = sps {
        let text = |(width, height): (u32, u32)| format!("{width}x{height}");
        let at = (found.place(), "the size of the sample entry");
        report.equal(Rule::AvcSize, at, text(sps.size()), text(size));
    }
    entry.avc = avc;
    Some(entry)
}

fn read_fields(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<(u32, u32)> {
    let mut fields = found.fields();
    let mut fixed = vec![
        ("reserved", u64::from(fields.u32()?), 0),
        ("reserved", fields.u16()?.into(), 0),
        ("data_reference_index", fields.u16()?.into(), 1),
        ("pre_defined", fields.u64()?, 0),
        ("pre_defined", fields.u64()?, 0),
    ];
    let size = (fields.u16()?.into(), fields.u16()?.into());
    fixed.extend([
        ("horizresolution", fields.u32()?.into(), 0x48_0000),
        ("vertresolution", fields.u32()?.into(), 0x48_0000),
        ("reserved", fields.u32()?.into(), 0),
        ("frame_count", fields.u16()?.into(), 1),
    ]);
    if fields.bytes(32)?[0] > 31 {
        report.say(
            Rule::BoxField,
            found.place(),
            "the compressor's name is too long",
        );
    }
    fixed.push(("depth", fields.u16()?.into(), 0x18));
    fixed.push(("pre_defined", fields.u16()?.into(), 0xffff));
    check_fixed(found, (0, &fixed), report);
    Some(size)
}

/// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1.2).
fn read_record(found: &BoxView<'_>, in_band: bool, report: &mut FileReport<'_>) -> Option<Avc> {
    let mut fields = found.fields();
    let version = fields.u8()?;
    let profile = fields.array()?;
    let lengths = fields.u8()?;
    let sets = fields.u8()?;
    let rule = Rule::AvcConfig;
    report.equal(rule, (found.place(), "configurationVersion"), 1, version);
    if lengths | 3 != 0xff || sets | 0x1f != 0xff {
        report.say(rule, found.place(), "reserved bits are not ones");
    }
    let mut avc = Avc {
        profile,
        length_bytes: usize::from(lengths & 3) + 1,
        sequence: Vec::new(),
        pictures: Vec::new(),
        units: Vec::new(),
        in_band,
    };
    if avc.length_bytes == 3 {
        report.say(rule, found.place(), "lengths have three bytes");
    }
    for unit in units(&mut fields, sets & 0x1f)? {
        let sps = Sps::read(unit).filter(|_| unit.first().is_some_and(|b| b & 0x9f == NAL_SPS));
        avc.keep(unit, sps.is_some(), found, report);
        avc.sequence.extend(sps);
    }
    let count = fields.u8()?;
    for unit in units(&mut fields, count)? {
        let pps = Pps::read(unit, &avc.sequence);
        let pps = pps.filter(|_| unit.first().is_some_and(|b| b & 0x9f == NAL_PPS));
        avc.keep(unit, pps.is_some(), found, report);
        avc.pictures.extend(pps);
    }
    avc.check(found, report);
    check_extension(&avc, fields, found, report);
    Some(avc)
}

/// NAL units behind 16-bit lengths.
fn units<'a>(fields: &mut Fields<'a>, count: u8) -> Option<Vec<&'a [u8]>> {
    let mut unit = || {
        let length = fields.u16()?;
        fields.bytes(length.into())
    };
    (0..count).map(|_| unit()).collect()
}

impl Avc {
    fn keep(&mut self, unit: &[u8], read: bool, found: &BoxView<'_>, report: &mut FileReport<'_>) {
        if !read {
            let what = "a parameter set cannot be read";
            report.say(Rule::AvcParameterSets, found.place(), what);
        }
        self.units.push(unit.to_vec());
    }

    fn check(&self, found: &BoxView<'_>, report: &mut FileReport<'_>) {
        let sets = Rule::AvcParameterSets;
        if !self.in_band && (self.sequence.is_empty() || self.pictures.is_empty()) {
            report.say(sets, found.place(), "there are no parameter sets");
        }
        for sps in &self.sequence {
            let own = [sps.profile, sps.compatibility, sps.level];
            let text = |profile: [u8; 3]| {
                let [profile, compatibility, level] = profile;
                format!("{profile:02x}{compatibility:02x}{level:02x}")
            };
            let at = (found.place(), "profile, compatibility and level");
            report.equal(Rule::AvcConfig, at, text(own), text(self.profile));
            if sps.compatibility & 3 != 0 {
                report.say(sets, found.place(), "reserved bits of a set are not zero");
            }
        }
        for pps in &self.pictures {
            let sps = self.sequence.iter().find(|sps| sps.id == pps.sps);
            let Some(sps) = sps else {
                let what = "a picture parameter set refers to no sequence parameter set";
                report.say(sets, found.place(), what);
                continue;
            };
            let beyond = pps.is_high && sps.profile < 100 || pps.cabac && sps.profile == 66;
            if beyond {
                let what = "a picture parameter set has what the profile has not";
                report.say(sets, found.place(), what);
            }
        }
        let mut ids: Vec<_> = self.pictures.iter().map(|pps| pps.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != self.pictures.len() {
            report.say(
                sets,
                found.place(),
                "two picture parameter sets have one id",
            );
        }
    }
}

/// Profiles whose records tell chroma and bit depth.
const EXTENDED: [u8; 4] = [100, 110, 122, 144];

/// Profiles whose records end behind the parameter sets. All others may go on, by the second edition
/// of the standard.
const PLAIN: [u8; 3] = [66, 77, 88];

fn check_extension(
    avc: &Avc,
    mut fields: Fields<'_>,
    found: &BoxView<'_>,
    report: &mut FileReport<'_>,
) {
    let rule = Rule::AvcConfig;
    if PLAIN.contains(&avc.profile[0]) && fields.left() > 0 {
        report.say(rule, found.place(), "bytes are left behind the record");
    }
    if !EXTENDED.contains(&avc.profile[0])
        && (fields.left() == 0 || PLAIN.contains(&avc.profile[0]))
    {
        return;
    }
    let Some([chroma, luma_depth, chroma_depth, sets]) = fields.array() else {
        let what = "chroma format and bit depth are missing, which a high profile has";
        report.say(rule, found.place(), what);
        return;
    };
    if chroma | 3 != 0xff || luma_depth | 7 != 0xff || chroma_depth | 7 != 0xff {
        report.say(rule, found.place(), "reserved bits are not ones");
    }
    if let Some(sps) = avc.sequence.first() {
        let own = (sps.chroma_format, sps.bit_depth);
        let stated = (chroma & 3, (8 + (luma_depth & 7), 8 + (chroma_depth & 7)));
        if own != stated {
            let at = (found.place(), "chroma format and bit depth");
            report.differs(rule, at, format!("{own:?}"), format!("{stated:?}"));
        }
    }
    if units(&mut fields, sets).is_none() || fields.left() > 0 {
        report.say(
            rule,
            found.place(),
            "the record does not end where its box does",
        );
    }
}

fn check_aspect(
    boxes: &Children<'_>,
    sps: Option<&Sps>,
    entry: &mut VideoEntry,
    report: &mut FileReport<'_>,
) {
    let coded = sps.and_then(|sps| sps.vui.aspect);
    let coded = coded.map(|(across, down)| (u32::from(across), u32::from(down)));
    entry.aspect = coded.unwrap_or((1, 1));
    let Some(found) = boxes.one(b"pasp") else {
        return;
    };
    let stated = found.read(report, |fields| fields.u32().zip(fields.u32()));
    let Some((across, down)) = stated else { return };
    if across == 0 || down == 0 {
        report.say(Rule::AvcAspect, found.place(), "it has no ratio");
        return;
    }
    entry.aspect = (across, down);
    // Only one of both may tell it.
    let Some((a, b)) = coded else { return };
    let same = u64::from(across) * u64::from(b) == u64::from(down) * u64::from(a);
    if !same {
        let at = (found.place(), "the sample aspect ratio");
        report.differs(
            Rule::AvcAspect,
            at,
            format!("{a}:{b}"),
            format!("{across}:{down}"),
        );
    }
}

/// A colour description of code points and range.
const NCLX: [u8; 4] = *b"nclx";

/// The code point that says nothing.
const UNSPECIFIED: u16 = 2;

/// Colour descriptions that are ICC profiles.
const PROFILES: [[u8; 4]; 2] = [*b"rICC", *b"prof"];

fn check_colour(
    boxes: &Children<'_>,
    sps: Option<&Sps>,
    entry: &mut VideoEntry,
    report: &mut FileReport<'_>,
) {
    for found in boxes.all(b"colr") {
        let mut fields = found.fields();
        match fields.array() {
            Some(NCLX) => check_points(found, (fields, sps), entry, report),
            Some(kind) if PROFILES.contains(&kind) => {}
            _ => report.say(
                Rule::AvcColour,
                found.place(),
                "it is of no type that is known",
            ),
        }
    }
}

fn check_points(
    found: &BoxView<'_>,
    (mut fields, sps): (Fields<'_>, Option<&Sps>),
    entry: &mut VideoEntry,
    report: &mut FileReport<'_>,
) {
    let rule = Rule::AvcColour;
    let mut point = || fields.u16();
    let points = point().zip(point()).zip(point());
    let range = fields.u8();
    let (Some(((primaries, transfer), matrix)), Some(range)) = (points, range) else {
        report.say(
            Rule::BoxSize,
            found.place(),
            "its fields end behind its end",
        );
        return;
    };
    if fields.left() > 0 {
        report.say(
            Rule::BoxSize,
            found.place(),
            "bytes are left behind its fields",
        );
    }
    if range & 0x7f != 0 {
        report.say(Rule::BoxField, found.place(), "reserved bits are not zero");
    }
    entry.transfer = u8::try_from(transfer).ok();
    let Some(sps) = sps else { return };
    let stated = [primaries, transfer, matrix];
    let coded = sps.vui.colour.map(|points| points.map(u16::from));
    let apart = |coded: &[u16; 3]| {
        let mut pairs = coded.iter().zip(&stated);
        pairs.any(|(a, b)| a != b && *a != UNSPECIFIED && *b != UNSPECIFIED)
    };
    if let Some(coded) = coded.filter(apart) {
        let at = (found.place(), "primaries, transfer and matrix");
        report.differs(rule, at, format!("{coded:?}"), format!("{stated:?}"));
    }
    if let Some(full) = sps.vui.full_range {
        report.equal(rule, (found.place(), "full range"), full, range & 0x80 != 0);
    }
}
