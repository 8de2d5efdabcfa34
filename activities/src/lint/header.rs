//! CMAF headers: `ftyp` and `moov` (ISO/IEC 23000-19, 7.3.2.1).

mod audio;
mod track;
mod video;

use super::boxes::{BoxView, Children, Fields, Kind, Layout};
use super::report::FileReport;
use super::rules::Rule;

pub(super) use audio::AudioEntry;
pub(super) use video::{Avc, VideoEntry};

/// What a header says of its track.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) track: u32,
    pub(super) timescale: u32,
    /// ISO 639-2.
    pub(super) language: String,
    /// Composition time at which the presentation begins; `None` if the edit list does not tell.
    pub(super) edit_start: Option<u64>,
    pub(super) defaults: Defaults,
    /// Type of the sample entry.
    pub(super) entry: Kind,
    pub(super) media: Media,
    /// Whether it claims to follow CMAF.
    pub(super) is_cmaf: bool,
}

/// What a track holds.
#[derive(Debug)]
pub(super) enum Media {
    Video(VideoEntry),
    Audio(AudioEntry),
    /// Text, or a codec that is not judged.
    Other,
}

/// What samples have that say nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

impl Header {
    /// As CODECS names it best; `None` if it is not known.
    pub(super) fn codec(&self) -> Option<String> {
        match &self.media {
            Media::Video(video) => {
                let [profile, compatibility, level] = video.avc.as_ref()?.profile;
                let entry = String::from_utf8_lossy(&self.entry);
                Some(format!(
                    "{entry}.{profile:02x}{compatibility:02x}{level:02x}"
                ))
            }
            Media::Audio(audio) => audio.codec.clone(),
            Media::Other => None,
        }
    }

    /// What CODECS may say instead: what older decoders make of it.
    pub(super) fn also_codec(&self) -> Option<String> {
        let core = self.audio()?.config?.core?;
        Some(format!("mp4a.40.{core}"))
    }

    pub(super) fn video(&self) -> Option<&VideoEntry> {
        match &self.media {
            Media::Video(video) => Some(video),
            _ => None,
        }
    }

    pub(super) fn audio(&self) -> Option<&AudioEntry> {
        match &self.media {
            Media::Audio(audio) => Some(audio),
            _ => None,
        }
    }
}

const FILE: Layout = Layout {
    boxes: &[(b"ftyp", 1, 1), (b"moov", 1, 1)],
    ordered: true,
};

const MOOV: Layout = Layout {
    boxes: &[
        (b"mvhd", 1, 1),
        (b"trak", 1, usize::MAX),
        (b"mvex", 1, 1),
        (b"pssh", 0, 64),
    ],
    ordered: false,
};

const MVEX: Layout = Layout {
    boxes: &[
        (b"mehd", 0, 1),
        (b"trex", 1, usize::MAX),
        (b"trep", 0, 64),
        (b"leva", 0, 1),
    ],
    ordered: true,
};

/// The unity matrix.
const UNITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Whether a file begins with a `ftyp` that claims CMAF. It decides which rules apply, so it is
/// asked before anything else is read.
pub(super) fn claims_cmaf(bytes: &[u8]) -> bool {
    let mut fields = Fields::of(bytes);
    let Some((size, b"ftyp")) = fields.u32().zip(fields.array().as_ref()) else {
        return false;
    };
    let body = (size as usize)
        .checked_sub(8)
        .and_then(|size| fields.bytes(size));
    let brands = body.unwrap_or_default().chunks_exact(4).skip(2);
    brands.into_iter().any(|brand| brand == CMAF)
}

/// Reads a header; `None` if it is none of one track that can be judged further.
pub(super) fn read(bytes: &[u8], report: &mut FileReport<'_>) -> Option<Header> {
    let file = Children::of_file(bytes, &FILE, report);
    let brands = file.one(b"ftyp").map(|found| check_brands(found, report));
    let moov = file.one(b"moov")?.children(&MOOV, report);
    let movie = moov.one(b"mvhd")?;
    let next_track = read_movie(movie, report)?;
    let tracks = moov.all(b"trak").count();
    if tracks != 1 {
        let what = format!("there are {tracks} tracks");
        report.one_track(movie.place(), what);
        return None;
    }
    let track = track::read(moov.one(b"trak")?, report)?;
    if next_track <= track.id {
        let what = "next_track_ID is in use";
        report.say(Rule::CmafTrackId, movie.place(), what);
    }
    check_edit(&track, brands.unwrap_or_default(), report);
    let defaults = read_defaults(&moov, track.id, report)?;
    Some(Header {
        track: track.id,
        timescale: track.timescale,
        language: track.language,
        edit_start: track.edit.map_or(Some(0), |(_, start)| start),
        defaults,
        entry: track.entry,
        media: track.media,
        is_cmaf: report.is_cmaf(),
    })
}

/// The brand of CMAF.
const CMAF: &[u8] = b"cmfc";

/// Whether the header has the brand `cmf2`.
fn check_brands(found: &BoxView<'_>, report: &mut FileReport<'_>) -> bool {
    let brands = brands(found, report).unwrap_or_default();
    if !brands.iter().any(|brand| brand == CMAF) {
        let what = "the header lacks the brand cmfc: it does not claim to follow CMAF";
        report.house().say(Rule::CmafBrand, found.place(), what);
    }
    brands.contains(b"cmf2")
}

/// Compatible brands, the major one not counted.
pub(super) fn brands(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Vec<Kind>> {
    found.read(report, |fields| {
        fields.bytes(8)?;
        let mut brands = Vec::new();
        while fields.left() > 0 {
            brands.push(fields.array()?);
        }
        Some(brands)
    })
}

/// The number of the next track.
fn read_movie(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<u32> {
    let (version, duration, fixed, next) = found.read(report, |fields| {
        let (version, flags) = fields.full()?;
        times(fields, version)?;
        fields.u32()?;
        let duration = fields.by_version(version)?;
        let fixed = [
            ("flags", u64::from(flags), 0),
            ("rate", fields.u32()?.into(), 0x1_0000),
            ("volume", fields.u16()?.into(), 0x100),
            ("reserved", fields.u16()?.into(), 0),
            ("reserved", fields.u64()?, 0),
        ];
        let matrix = matrix(fields)?;
        fields.bytes(24)?;
        let next = fields.u32()?;
        Some((version, duration, (fixed, matrix), next))
    })?;
    check_fixed(found, (version, &fixed.0), report);
    if fixed.1 != UNITY {
        report.say(Rule::BoxField, found.place(), "the matrix is not unity");
    }
    check_duration(found, (version, duration), report);
    Some(next)
}

/// The durations of a header are those of samples that it does not have.
fn check_duration(
    found: &BoxView<'_>,
    (version, duration): (u8, u64),
    report: &mut FileReport<'_>,
) {
    if !is_unknown(duration, version) {
        let at = (found.place(), "the duration");
        report.equal(Rule::CmafDuration, at, 0, duration);
    }
}

fn times(fields: &mut super::boxes::Fields<'_>, version: u8) -> Option<()> {
    fields.by_version(version)?;
    fields.by_version(version)?;
    Some(())
}

fn matrix(fields: &mut super::boxes::Fields<'_>) -> Option<[u32; 9]> {
    let mut matrix = [0; 9];
    for cell in &mut matrix {
        *cell = fields.u32()?;
    }
    Some(matrix)
}

/// All ones: the duration is not known.
fn is_unknown(duration: u64, version: u8) -> bool {
    duration
        == if version == 1 {
            u64::MAX
        } else {
            u32::MAX.into()
        }
}

/// Says which fields do not have the value that the standard gives.
fn check_fixed(
    found: &BoxView<'_>,
    (version, fields): (u8, &[(&str, u64, u64)]),
    report: &mut FileReport<'_>,
) {
    if version > 1 {
        report.say(
            Rule::BoxField,
            found.place(),
            format!("version {version} is not known"),
        );
    }
    for (name, value, fixed) in fields {
        report.equal(Rule::BoxField, (found.place(), name), *fixed, *value);
    }
}

fn check_edit(track: &track::Track, is_cmf2: bool, report: &mut FileReport<'_>) {
    if let (Some((place, _)), true) = (&track.edit, is_cmf2) {
        let what = "a header of the brand cmf2 has an edit list";
        report.say(Rule::CmafEditList, place.clone(), what);
    }
}

/// What the header says of samples that say nothing themselves.
fn read_defaults(moov: &Children<'_>, track: u32, report: &mut FileReport<'_>) -> Option<Defaults> {
    let mvex = moov.one(b"mvex")?.children(&MVEX, report);
    let mut own = None;
    for found in mvex.all(b"trex") {
        let (id, index, defaults, fixed) = found.read(report, |fields| {
            let (version, flags) = fields.full()?;
            let (id, index) = (fields.u32()?, fields.u32()?);
            let defaults = Defaults {
                duration: fields.u32()?,
                size: fields.u32()?,
                flags: fields.u32()?,
            };
            Some((id, index, defaults, (version, flags)))
        })?;
        let (version, flags) = fixed;
        let fixed = [
            ("version", u64::from(version), 0),
            ("flags", flags.into(), 0),
            ("default_sample_description_index", index.into(), 1),
            (
                "reserved bits of default_sample_flags",
                (defaults.flags >> 28).into(),
                0,
            ),
        ];
        check_fixed(found, (0, &fixed), report);
        report.equal(Rule::CmafTrackId, (found.place(), "track_ID"), track, id);
        own = own.or(Some(defaults));
    }
    own
}
