//! The box structure of ISO base media files, read strictly and without recursion: what belongs
//! where, how often, and in which order.

use super::report::{FileReport, Place};
use super::rules::Rule;

/// Boxes side by side beyond these are not read; a segment of 20 s at 120 pictures a second, each in a
/// chunk of its own, has 9,600.
pub(super) const MAX_SIBLINGS: usize = 16_384;

/// Type of a box.
pub(super) type Kind = [u8; 4];

/// A box whose size fits.
#[derive(Debug, Clone)]
pub(super) struct BoxView<'a> {
    pub(super) kind: Kind,
    /// What is behind its header.
    pub(super) body: &'a [u8],
    /// Offset of its header in the file.
    pub(super) offset: usize,
    /// Offset of its body in the file.
    pub(super) body_offset: usize,
    path: String,
}

impl<'a> BoxView<'a> {
    /// Where it is, for a finding.
    pub(super) fn place(&self) -> Place {
        Place {
            line: None,
            path: Some(self.path.clone()),
            offset: Some(self.offset as u64),
        }
    }

    /// The boxes in it, as a container of its kind has them.
    pub(super) fn children(&self, layout: &Layout, report: &mut FileReport<'_>) -> Children<'a> {
        self.children_behind(0, layout, report)
    }

    /// The boxes in it behind so many bytes of fields.
    pub(super) fn children_behind(
        &self,
        skip: usize,
        layout: &Layout,
        report: &mut FileReport<'_>,
    ) -> Children<'a> {
        let bytes = self.body.get(skip..).unwrap_or_default();
        let parent = Parent {
            path: &self.path,
            offset: self.body_offset + skip,
        };
        Children::read(bytes, &parent, layout, report)
    }

    /// Reads fields from the start of the body on.
    pub(super) fn fields(&self) -> Fields<'a> {
        Fields { rest: self.body }
    }

    /// Reads fields that fill the body; says if they do not.
    pub(super) fn read<T>(
        &self,
        report: &mut FileReport<'_>,
        read: impl FnOnce(&mut Fields<'a>) -> Option<T>,
    ) -> Option<T> {
        let mut fields = self.fields();
        let value = read(&mut fields);
        if value.is_none() {
            report.say(Rule::BoxSize, self.place(), "its fields end behind its end");
        } else if !fields.rest.is_empty() {
            let left = format!("{} bytes are left behind its fields", fields.rest.len());
            report.say(Rule::BoxSize, self.place(), left);
        }
        value
    }
}

struct Parent<'a> {
    path: &'a str,
    offset: usize,
}

/// Which boxes a container has: type, fewest, most. In this order if it is told to keep it.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) boxes: &'static [(&'static Kind, usize, usize)],
    pub(super) ordered: bool,
}

/// Boxes that may stand anywhere and say nothing.
const ANYWHERE: [&Kind; 6] = [b"free", b"skip", b"uuid", b"udta", b"meta", b"btrt"];

/// Boxes that are known, so that one in a wrong place is no extension.
const KNOWN: [&Kind; 47] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"prft", b"emsg", b"mvhd", b"trak",
    b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"minf", b"vmhd", b"smhd", b"dinf",
    b"dref", b"url ", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"stss", b"ctts",
    b"mvex", b"mehd", b"trex", b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun", b"avc1", b"avcC",
    b"mp4a", b"esds", b"colr", b"pasp", b"sgpd", b"sbgp", b"mfra",
];

/// The boxes of a container.
#[derive(Debug, Default)]
pub(super) struct Children<'a> {
    boxes: Vec<BoxView<'a>>,
}

impl<'a> Children<'a> {
    /// The boxes of a file.
    pub(super) fn of_file(bytes: &'a [u8], layout: &Layout, report: &mut FileReport<'_>) -> Self {
        let file = Parent {
            path: "",
            offset: 0,
        };
        Self::read(bytes, &file, layout, report)
    }

    fn read(
        bytes: &'a [u8],
        parent: &Parent<'_>,
        layout: &Layout,
        report: &mut FileReport<'_>,
    ) -> Self {
        let boxes = split(bytes, parent, report);
        let found = Self { boxes };
        found.check(parent, layout, report);
        found
    }

    /// The first box of a type.
    pub(super) fn one(&self, kind: &Kind) -> Option<&BoxView<'a>> {
        self.boxes.iter().find(|found| found.kind == *kind)
    }

    /// Every box of a type.
    pub(super) fn all(&self, kind: &Kind) -> impl Iterator<Item = &BoxView<'a>> {
        self.boxes.iter().filter(move |found| found.kind == *kind)
    }

    /// All boxes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &BoxView<'a>> {
        self.boxes.iter()
    }

    fn check(&self, parent: &Parent<'_>, layout: &Layout, report: &mut FileReport<'_>) {
        for (kind, fewest, most) in layout.boxes {
            let count = self.all(kind).count();
            let name = name(kind);
            let place = || parent.place();
            if count < *fewest {
                report.say(Rule::BoxMissing, place(), format!("there is no {name} box"));
            }
            if count > *most {
                report.say(
                    Rule::BoxTwice,
                    place(),
                    format!("there are {count} {name} boxes"),
                );
            }
        }
        for found in &self.boxes {
            self.check_place(found, layout, report);
        }
        if layout.ordered {
            self.check_order(layout, report);
        }
    }

    fn check_place(&self, found: &BoxView<'_>, layout: &Layout, report: &mut FileReport<'_>) {
        let belongs = layout.boxes.iter().any(|(kind, ..)| **kind == found.kind);
        if belongs || ANYWHERE.contains(&&found.kind) {
            return;
        }
        let name = name(&found.kind);
        if KNOWN.contains(&&found.kind) {
            let stray = format!("a {name} box does not belong here");
            report.say(Rule::BoxStray, found.place(), stray);
        } else {
            let unknown = format!("{name} is no box that is known here");
            report.say(Rule::BoxUnknown, found.place(), unknown);
        }
    }

    fn check_order(&self, layout: &Layout, report: &mut FileReport<'_>) {
        let rank = |found: &BoxView<'_>| {
            let mut kinds = layout.boxes.iter();
            kinds.position(|(kind, ..)| **kind == found.kind)
        };
        let mut highest = 0;
        for found in &self.boxes {
            let Some(rank) = rank(found) else { continue };
            if rank < highest {
                let late = format!("the {} box stands too late", name(&found.kind));
                report.say(Rule::BoxOrder, found.place(), late);
            }
            highest = highest.max(rank);
        }
    }
}

impl Parent<'_> {
    fn place(&self) -> Place {
        if self.path.is_empty() {
            return Place::FILE;
        }
        Place {
            line: None,
            path: Some(self.path.to_owned()),
            offset: None,
        }
    }

    fn child(&self, kind: &Kind) -> String {
        match self.path {
            "" => name(kind),
            path => format!("{path}/{}", name(kind)),
        }
    }
}

/// A type as text.
pub(super) fn name(kind: &Kind) -> String {
    String::from_utf8_lossy(kind).escape_default().to_string()
}

/// Size and type.
const HEADER_BYTES: usize = 8;

/// Size, type, and a size of 64 bits.
const LARGE_HEADER_BYTES: usize = 16;

fn split<'a>(
    bytes: &'a [u8],
    parent: &Parent<'_>,
    report: &mut FileReport<'_>,
) -> Vec<BoxView<'a>> {
    let mut boxes = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if boxes.len() == MAX_SIBLINGS {
            let what = format!("it has more than {MAX_SIBLINGS} boxes");
            report.say(Rule::TooMuch, parent.place(), what);
            break;
        }
        let Some((kind, header, size)) = header(&bytes[at..]) else {
            let left = format!(
                "{} bytes at {} are no box",
                bytes.len() - at,
                parent.offset + at
            );
            report.say(Rule::BoxSize, parent.place(), left);
            break;
        };
        let found = BoxView {
            kind,
            body: bytes.get(at + header..at + size).unwrap_or_default(),
            offset: parent.offset + at,
            body_offset: parent.offset + at + header,
            path: parent.child(&kind),
        };
        if size < header || at + size > bytes.len() {
            let size = format!(
                "it has {} bytes, and {size} by its header",
                bytes.len() - at
            );
            report.say(Rule::BoxSize, found.place(), size);
            break;
        }
        boxes.push(found);
        at += size;
    }
    boxes
}

/// Type, length of the header, and size of the box that bytes begin with; the size is at most
/// 2^62, so that adding to it cannot overflow.
fn header(bytes: &[u8]) -> Option<(Kind, usize, usize)> {
    const LARGEST: u64 = 1 << 62;
    let mut fields = Fields { rest: bytes };
    let small = fields.u32()?;
    let kind = fields.array()?;
    let (header, size) = match small {
        1 => (LARGE_HEADER_BYTES, fields.u64()?),
        small => (HEADER_BYTES, u64::from(small)),
    };
    Some((kind, header, usize::try_from(size.min(LARGEST)).ok()?))
}

/// Reads numbers from bytes; every read answers `None` behind the end.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Option<u32> {
        let [a, b, c] = self.array()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// 32 or 64 bits, by the version of the box.
    pub(super) fn by_version(&mut self, version: u8) -> Option<u64> {
        if version == 1 {
            self.u64()
        } else {
            self.u32().map(u64::from)
        }
    }

    /// Version and flags.
    pub(super) fn full(&mut self) -> Option<(u8, u32)> {
        Some((self.u8()?, self.u24()?))
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}
