use super::super::LATEST;
use super::super::boxes::{BoxView, Children, Kind, Layout};
use super::super::report::{FileReport, Place};
use super::super::rules::Rule;
use super::{Media, UNITY, audio, check_duration, check_fixed, is_unknown, matrix, times, video};

/// What a `trak` says.
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) timescale: u32,
    pub(super) language: String,
    /// Its edit list, and where the only edit begins.
    pub(super) edit: Option<(Place, Option<u64>)>,
    pub(super) entry: Kind,
    pub(super) media: Media,
}

const TRAK: Layout = Layout {
    boxes: &[
        (b"tkhd", 1, 1),
        (b"tref", 0, 1),
        (b"edts", 0, 1),
        (b"mdia", 1, 1),
        (b"trgr", 0, 64),
    ],
    ordered: false,
};

const EDTS: Layout = Layout {
    boxes: &[(b"elst", 1, 1)],
    ordered: true,
};

const MDIA: Layout = Layout {
    boxes: &[
        (b"mdhd", 1, 1),
        (b"hdlr", 1, 1),
        (b"elng", 0, 1),
        (b"minf", 1, 1),
    ],
    ordered: false,
};

const MINF: Layout = Layout {
    boxes: &[
        (b"vmhd", 0, 1),
        (b"smhd", 0, 1),
        (b"sthd", 0, 1),
        (b"nmhd", 0, 1),
        (b"dinf", 1, 1),
        (b"stbl", 1, 1),
    ],
    ordered: false,
};

const DINF: Layout = Layout {
    boxes: &[(b"dref", 1, 1)],
    ordered: true,
};

const STBL: Layout = Layout {
    boxes: &[
        (b"stsd", 1, 1),
        (b"stts", 1, 1),
        (b"stsc", 1, 1),
        (b"stsz", 0, 1),
        (b"stz2", 0, 1),
        (b"stco", 0, 1),
        (b"co64", 0, 1),
        (b"sgpd", 0, 64),
        (b"sbgp", 0, 64),
        (b"stss", 0, 1),
        (b"ctts", 0, 1),
    ],
    ordered: false,
};

const ENTRIES: Layout = Layout {
    boxes: &[],
    ordered: false,
};

/// Reads a track; `None` if it cannot be judged further.
pub(super) fn read(trak: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Track> {
    let boxes = trak.children(&TRAK, report);
    let header = TrackHeader::read(boxes.one(b"tkhd")?, report)?;
    let edit = boxes.one(b"edts").and_then(|edts| edit(edts, report));
    let media = boxes.one(b"mdia")?.children(&MDIA, report);
    let (timescale, language) = media_header(media.one(b"mdhd")?, report)?;
    let handler = handler(media.one(b"hdlr")?, report)?;
    let information = media.one(b"minf")?.children(&MINF, report);
    check_media_header(&information, handler, media.one(b"hdlr")?, report);
    if let Some(dinf) = information.one(b"dinf") {
        check_data_reference(dinf, report);
    }
    let tables = information.one(b"stbl")?.children(&STBL, report);
    check_tables(information.one(b"stbl")?, &tables, report);
    let (entry, media) = entry(tables.one(b"stsd")?, handler, report)?;
    header.check(boxes.one(b"tkhd")?, (handler, &media), report);
    Some(Track {
        id: header.id,
        timescale,
        language,
        edit,
        entry,
        media,
    })
}

struct TrackHeader {
    flags: u32,
    id: u32,
    volume: u16,
    /// 16.16.
    size: (u32, u32),
}

impl TrackHeader {
    fn read(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Self> {
        let (header, version, duration, fixed, unity) = found.read(report, |fields| {
            let (version, flags) = fields.full()?;
            times(fields, version)?;
            let id = fields.u32()?;
            let mut fixed = vec![("reserved", u64::from(fields.u32()?), 0)];
            let duration = fields.by_version(version)?;
            fixed.push(("reserved", fields.u64()?, 0));
            fixed.push(("layer", fields.u16()?.into(), 0));
            fields.u16()?;
            let volume = fields.u16()?;
            fixed.push(("reserved", fields.u16()?.into(), 0));
            let unity = matrix(fields)? == UNITY;
            let size = (fields.u32()?, fields.u32()?);
            let header = Self {
                flags,
                id,
                volume,
                size,
            };
            Some((header, version, duration, fixed, unity))
        })?;
        check_fixed(found, (version, &fixed), report);
        if !unity {
            report.say(Rule::BoxField, found.place(), "the matrix is not unity");
        }
        check_duration(found, (version, duration), report);
        if header.id == 0 {
            report.say(Rule::CmafTrackId, found.place(), "track_ID is 0");
        }
        Some(header)
    }

    fn check(
        &self,
        found: &BoxView<'_>,
        (handler, media): (Kind, &Media),
        report: &mut FileReport<'_>,
    ) {
        let rule = Rule::CmafTrackHeader;
        if self.flags & 1 == 0 {
            report.say(rule, found.place(), "the track is not enabled");
        }
        if self.flags > 0xf {
            report.say(rule, found.place(), "it has flags that are not known");
        }
        let is_sound = handler == *b"soun";
        let volume = if is_sound { 0x100 } else { 0 };
        report.equal(rule, (found.place(), "the volume"), volume, self.volume);
        match media {
            Media::Video(video) => {
                let (width, height) = video.shown();
                let shown = |size: (f64, f64)| format!("{:.2}x{:.2}", size.0, size.1);
                let fixed = |edge: u32| f64::from(edge) / 65_536.0;
                let stated = (fixed(self.size.0), fixed(self.size.1));
                if (stated.0 - width).abs() >= 1.0 || (stated.1 - height).abs() >= 1.0 {
                    let at = (found.place(), "the size");
                    report.differs(rule, at, shown((width, height)), shown(stated));
                }
            }
            _ if is_sound && self.size != (0, 0) => {
                report.say(rule, found.place(), "sound has a size");
            }
            _ => {}
        }
    }
}

/// The edit list, and where the only edit begins; `None` if there are others.
fn edit(edts: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<(Place, Option<u64>)> {
    let boxes = edts.children(&EDTS, report);
    let list = boxes.one(b"elst")?;
    let (version, edits) = list.read(report, |fields| {
        let (version, _) = fields.full()?;
        let count = fields.u32()?;
        let mut edits = Vec::new();
        for _ in 0..count {
            let duration = fields.by_version(version)?;
            let start = fields.by_version(version)?;
            edits.push((duration, start, fields.u32()?));
        }
        Some((version, edits))
    })?;
    let rule = Rule::CmafEditList;
    check_fixed(list, (version, &[]), report);
    let [(duration, start, rate)] = edits.as_slice() else {
        let what = format!("there are {} edits", edits.len());
        report.say(rule, list.place(), what);
        return Some((list.place(), None));
    };
    report.equal(rule, (list.place(), "the rate"), 0x1_0000, *rate);
    if is_unknown(*start, version) {
        report.say(rule, list.place(), "the edit is empty");
        return Some((list.place(), None));
    }
    if *duration != 0 {
        let what = "the edit ends before the track does";
        report.say(rule, list.place(), what);
    }
    if *start > LATEST {
        report.say(
            rule,
            list.place(),
            "the edit begins at a time that makes no sense",
        );
        return Some((list.place(), None));
    }
    Some((list.place(), Some(*start)))
}

/// Timescale and language.
fn media_header(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<(u32, String)> {
    let (version, timescale, duration, code, reserved) = found.read(report, |fields| {
        let (version, _) = fields.full()?;
        times(fields, version)?;
        let timescale = fields.u32()?;
        let duration = fields.by_version(version)?;
        Some((version, timescale, duration, fields.u16()?, fields.u16()?))
    })?;
    check_fixed(
        found,
        (version, &[("pre_defined", reserved.into(), 0)]),
        report,
    );
    check_duration(found, (version, duration), report);
    if timescale == 0 {
        report.say(Rule::BoxField, found.place(), "the timescale is 0");
        return None;
    }
    let letters = [code >> 10, code >> 5, code].map(|letter| (letter & 0x1f) as u8);
    if code >> 15 != 0 || letters.iter().any(|letter| !(1..=26).contains(letter)) {
        let what = "the language is no code of ISO 639-2";
        report.say(Rule::BoxField, found.place(), what);
    }
    let language = letters
        .iter()
        .map(|letter| char::from(0x60 + letter))
        .collect();
    Some((timescale, language))
}

fn handler(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Kind> {
    let (version, kind, name, fixed) = found.read(report, |fields| {
        let (version, flags) = fields.full()?;
        let mut fixed = vec![("flags", u64::from(flags), 0)];
        fixed.push(("pre_defined", fields.u32()?.into(), 0));
        let kind = fields.array()?;
        fixed.push(("reserved", fields.u64()?, 0));
        fixed.push(("reserved", fields.u32()?.into(), 0));
        Some((version, kind, fields.rest(), fixed))
    })?;
    check_fixed(found, (version, &fixed), report);
    let text = name.strip_suffix(b"\0");
    if !text.is_some_and(|text| std::str::from_utf8(text).is_ok() && !text.contains(&0)) {
        let what = "the name is no text that ends with a zero";
        report.say(Rule::BoxField, found.place(), what);
    }
    Some(kind)
}

fn check_media_header(
    information: &Children<'_>,
    handler: Kind,
    place: &BoxView<'_>,
    report: &mut FileReport<'_>,
) {
    let wanted: &Kind = match &handler {
        b"vide" => b"vmhd",
        b"soun" => b"smhd",
        _ => return,
    };
    let Some(found) = information.one(wanted) else {
        let what = "the media header is not that of the handler";
        report.say(Rule::CmafHandler, place.place(), what);
        return;
    };
    for other in [b"vmhd", b"smhd", b"sthd", b"nmhd"] {
        if let Some(other) = information.one(other).filter(|other| other.kind != *wanted) {
            let what = "a media header of another kind";
            report.say(Rule::CmafHandler, other.place(), what);
        }
    }
    let fixed = found.read(report, |fields| {
        let (version, flags) = fields.full()?;
        let values = if wanted == b"vmhd" {
            fields.u64()?
        } else {
            fields.u32()?.into()
        };
        Some((version, flags, values))
    });
    if let Some((version, flags, values)) = fixed {
        let fixed = [
            ("flags", u64::from(flags), u64::from(wanted == b"vmhd")),
            ("graphics mode, balance", values, 0),
        ];
        check_fixed(found, (version, &fixed), report);
    }
}

/// The samples are in the same file.
fn check_data_reference(dinf: &BoxView<'_>, report: &mut FileReport<'_>) {
    let boxes = dinf.children(&DINF, report);
    let Some(found) = boxes.one(b"dref") else {
        return;
    };
    let mut fields = found.fields();
    let head = fields.full().zip(fields.u32());
    let Some(((version, flags), count)) = head else {
        report.say(
            Rule::BoxSize,
            found.place(),
            "its fields end behind its end",
        );
        return;
    };
    let fixed = [
        ("flags", u64::from(flags), 0),
        ("entry_count", count.into(), 1),
    ];
    check_fixed(found, (version, &fixed), report);
    let layout = Layout {
        boxes: &[(b"url ", 1, 1)],
        ordered: true,
    };
    for entry in found.children_behind(8, &layout, report).all(b"url ") {
        if let Some((version, flags)) = entry.read(report, |fields| fields.full()) {
            let same_file = [("flags", u64::from(flags), 1)];
            check_fixed(entry, (version, &same_file), report);
        }
    }
}

/// All samples are in fragments, so the tables of the header are empty.
fn check_tables(stbl: &BoxView<'_>, tables: &Children<'_>, report: &mut FileReport<'_>) {
    for (one, other) in [(b"stsz", b"stz2"), (b"stco", b"co64")] {
        if tables.one(one).or(tables.one(other)).is_none() {
            let what = format!("there is no {} box", super::super::boxes::name(one));
            report.say(Rule::BoxMissing, stbl.place(), what);
        }
    }
    for kind in [
        b"stts", b"stsc", b"stsz", b"stco", b"co64", b"stss", b"ctts",
    ] {
        let Some(found) = tables.one(kind) else {
            continue;
        };
        let read = found.read(report, |fields| {
            let (version, flags) = fields.full()?;
            let sizes = if kind == b"stsz" { fields.u32()? } else { 0 };
            let count = fields.u32()?;
            if count > 0 {
                fields.rest();
            }
            Some((version, flags, sizes, count))
        });
        let Some((version, flags, sizes, count)) = read else {
            continue;
        };
        check_fixed(found, (version, &[("flags", flags.into(), 0)]), report);
        if (sizes, count) != (0, 0) {
            let what = "a table in the header has entries";
            report.say(Rule::CmafSampleTable, found.place(), what);
        }
    }
}

fn entry(stsd: &BoxView<'_>, handler: Kind, report: &mut FileReport<'_>) -> Option<(Kind, Media)> {
    let mut fields = stsd.fields();
    let ((version, flags), count) = fields.full().zip(fields.u32())?;
    let fixed = [
        ("flags", u64::from(flags), 0),
        ("entry_count", count.into(), 1),
    ];
    check_fixed(stsd, (version, &fixed), report);
    // Sample entries are named by codecs, so none of them is foreign here.
    let mut quiet = super::super::report::Report::default();
    let entries = stsd.children_behind(8, &ENTRIES, &mut quiet.file(report.file));
    let broken = quiet.findings.into_iter();
    for finding in broken.filter(|finding| finding.rule == Rule::BoxSize) {
        report.say(finding.rule, finding.place, finding.message);
    }
    let found = entries.iter().next();
    let Some(found) = found else {
        report.say(Rule::BoxMissing, stsd.place(), "there is no sample entry");
        return None;
    };
    if entries.iter().count() != count as usize {
        report.say(
            Rule::BoxSize,
            stsd.place(),
            "it has not as many entries as it says",
        );
    }
    let kind = found.kind;
    let media = match (&handler, &kind) {
        (b"vide", b"avc1" | b"avc3") => Media::Video(video::read(found, report)?),
        (b"soun", b"mp4a") => Media::Audio(audio::read(found, report)?),
        (_, b"avc1" | b"avc3" | b"mp4a") => {
            let what = "the sample entry is not that of the handler";
            report.say(Rule::CmafHandler, found.place(), what);
            return None;
        }
        _ => {
            let what = format!("samples of type {}", super::super::boxes::name(&kind));
            report.say(Rule::NotJudged, found.place(), what);
            Media::Other
        }
    };
    Some((kind, media))
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Report;
    use super::*;

    #[test]
    fn an_edit_at_a_time_that_no_clock_has_is_refused() {
        let elst = [0_u32.to_be_bytes().as_slice(), &1_u32.to_be_bytes()].concat();
        let edit = |start: u64| {
            let entry = [&[0; 8][..], &start.to_be_bytes(), &[0, 1, 0, 0]].concat();
            let body = [&[1][..], &elst[1..], &entry].concat();
            let elst = [&[0, 0, 0, 36][..], b"elst", &body].concat();
            let edts = [&[0, 0, 0, 44][..], b"edts", &elst].concat();
            let layout = Layout {
                boxes: &[(b"edts", 1, 1)],
                ordered: true,
            };
            let mut report = Report::default();
            let mut report = report.file("init.mp4").claiming(true);
            let file = Children::of_file(&edts, &layout, &mut report);
            let (_, start) = super::edit(file.one(b"edts").unwrap(), &mut report).unwrap();
            start
        };
        assert_eq!(edit(1024), Some(1024));
        assert_eq!(edit(u64::MAX - 1), None);
    }
}
