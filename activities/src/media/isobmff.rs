//! A bounded walk over the boxes of an ISO base media file (MP4, MOV), before a demuxer sees it.
//!
//! It finds what demuxers pass over in silence: samples beyond the end of the file, encryption,
//! Dolby Vision, mirrored pictures. Layout: ISO/IEC 14496-12; QuickTime File Format.

mod edits;
mod samples;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use super::demux;
use crate::tool::ToolError;

/// Top-level boxes that are looked at. A day of half-second fragments has 350,000.
const MAX_TOP_LEVEL_BOXES: usize = 1_000_000;

/// The largest index that is read into memory. A day at 60 fps needs about 80 MiB.
const MAX_MOOV_BYTES: u64 = 256 << 20;

/// The largest index of one fragment.
const MAX_MOOF_BYTES: u64 = 16 << 20;

/// What the boxes say that GStreamer does not.
#[derive(Debug, Default)]
pub(super) struct Movie {
    /// Tracks in the order of the file.
    pub(super) tracks: Vec<Track>,
    /// Whether samples are described in fragments.
    pub(super) fragmented: bool,
    /// Length of the presentation, if the header says (`mvhd`).
    pub(super) duration: Option<Duration>,
    /// Length over all fragments, if the header says (`mehd`).
    pub(super) fragments_duration: Option<Duration>,
}

/// A track's header facts.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// `track_ID`.
    pub(super) id: u32,
    /// Whether players use it by default.
    pub(super) enabled: bool,
    /// ISO 639-2 code, unless `und`.
    pub(super) language: Option<String>,
    /// How players turn the picture.
    pub(super) orientation: Orientation,
    /// What it says of Dolby Vision.
    pub(super) dolby_vision: Option<DolbyVision>,
    /// Ticks per second.
    timescale: u32,
}

/// The configuration of a Dolby Vision stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DolbyVision {
    /// 5, 7, 8, ...; `None` if it is not said.
    pub(super) profile: Option<u8>,
    /// What players that do not know it can take its base layer for: 1 and 6 HDR10, 2 standard range, 4 HLG;
    /// 0 nothing, or it is not said.
    pub(super) compatibility: u8,
}

/// Clockwise rotation, then mirroring left to right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// 0, 90, 180 or 270 degrees clockwise.
    pub(super) rotation: u16,
    /// Whether left and right are then swapped.
    pub(super) mirrored: bool,
    /// Whether the matrix also asks for something else (a free angle), which is ignored.
    pub(super) inexact: bool,
}

/// Walks a file of `file_bytes` bytes.
///
/// # Errors
/// Class `input`: `malformed_source`, `encrypted_source`, `playlist_refused` (a reference movie)
/// or `source_truncated`, which says at which second the data ends.
pub(super) fn inspect(file: &mut File, file_bytes: u64) -> Result<Movie, ToolError> {
    let mut walk = Walk::new(file, file_bytes);
    walk.top_level()?;
    walk.finish()
}

/// Where a movie's header says how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurationField {
    /// Offset in the file.
    pub(super) at: u64,
    /// 4 or 8.
    pub(super) bytes: usize,
    /// Its value, in ticks of the movie.
    pub(super) ticks: u64,
    /// The latest media time at which an edit of any track begins, in the same ticks.
    pub(super) latest_edit_ticks: u64,
}

/// Finds the field; `None` if the file has no movie or its header is unusual.
///
/// # Errors
/// The classes of [`ToolError::io`].
pub(super) fn duration_field(
    file: &mut File,
    file_bytes: u64,
) -> Result<Option<DurationField>, ToolError> {
    let mut walk = Walk::new(file, file_bytes);
    let mut at = 0;
    for _ in 0..MAX_TOP_LEVEL_BOXES {
        let Some(header) = walk.header(at)? else {
            break;
        };
        if &header.kind == b"moov" && header.end <= file_bytes {
            let moov = walk.body(&header, MAX_MOOV_BYTES)?;
            return Ok(edits::duration_field(&moov, header.body));
        }
        at = header.end;
    }
    Ok(None)
}

/// Progress of one walk.
struct Walk<'a> {
    file: &'a mut File,
    file_bytes: u64,
    movie: Option<Movie>,
    /// Decode time of the latest fragment.
    last_fragment: Option<Duration>,
    /// The box that claims to end beyond the file.
    cut: Option<[u8; 4]>,
}

struct Header {
    kind: [u8; 4],
    body: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    fn new(file: &'a mut File, file_bytes: u64) -> Self {
        Self {
            file,
            file_bytes,
            movie: None,
            last_fragment: None,
            cut: None,
        }
    }

    fn top_level(&mut self) -> Result<(), ToolError> {
        let mut at = 0;
        for _ in 0..MAX_TOP_LEVEL_BOXES {
            let Some(header) = self.header(at)? else {
                return Ok(());
            };
            if header.end > self.file_bytes {
                self.cut = Some(header.kind);
                return Ok(());
            }
            self.visit(&header)?;
            at = header.end;
        }
        Err(malformed("it has more than a million top-level boxes"))
    }

    /// The box at an offset; `None` at the end of the file and where padding follows the movie.
    fn header(&mut self, at: u64) -> Result<Option<Header>, ToolError> {
        let left = self.file_bytes.saturating_sub(at);
        if left < 8 {
            return Ok(None);
        }
        let bytes = self.read(at, 16.min(left))?;
        let kind = fourcc(&bytes[4..8]);
        let (body, end) = match be_u32(&bytes, 0) {
            Some(0) if kind == [0; 4] => return self.padding(),
            Some(0) => (8, self.file_bytes),
            Some(1) => (16, at.saturating_add(be_u64(&bytes, 8).unwrap_or(0))),
            size => (8, at.saturating_add(u64::from(size.unwrap_or(0)))),
        };
        if end < at + body {
            return self.padding();
        }
        Ok(Some(Header {
            kind,
            body: at + body,
            end,
        }))
    }

    fn padding(&self) -> Result<Option<Header>, ToolError> {
        if self.movie.is_some() {
            return Ok(None);
        }
        Err(malformed("its boxes do not follow each other"))
    }

    fn visit(&mut self, header: &Header) -> Result<(), ToolError> {
        match &header.kind {
            b"moov" if self.movie.is_none() => {
                let moov = self.body(header, MAX_MOOV_BYTES)?;
                self.movie = Some(movie(&moov)?);
                if let Some(end) = samples::data_end(&moov, self.file_bytes) {
                    return Err(truncated(&end));
                }
            }
            b"moof" => {
                let moof = self.body(header, MAX_MOOF_BYTES)?;
                self.last_fragment = self.fragment_start(&moof).or(self.last_fragment);
            }
            _ => {}
        }
        Ok(())
    }

    /// Decode time of the first track of a fragment that says it.
    fn fragment_start(&self, moof: &[u8]) -> Option<Duration> {
        let traf = child(moof, b"traf")?;
        let id = be_u32(child(traf, b"tfhd")?, 4)?;
        let tfdt = child(traf, b"tfdt")?;
        let ticks = match tfdt.first()? {
            0 => u64::from(be_u32(tfdt, 4)?),
            _ => be_u64(tfdt, 4)?,
        };
        let track = self.movie.as_ref()?.tracks.iter().find(|t| t.id == id)?;
        Some(duration(ticks, track.timescale))
    }

    fn finish(self) -> Result<Movie, ToolError> {
        let Some(movie) = self.movie else {
            return Err(match self.cut {
                Some(kind) if &kind == b"moov" => ToolError::input(
                    "source_truncated",
                    "the source is cut short: it ends inside its index, so nothing can be played; \
                     upload it again",
                ),
                _ => {
                    malformed("it has no index (moov); the recording or the upload did not finish")
                }
            });
        };
        match self.cut {
            Some(kind) if movie.fragmented && matches!(&kind, b"moof" | b"mdat") => {
                Err(cut_fragment(self.last_fragment))
            }
            _ => Ok(movie),
        }
    }

    fn body(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, ToolError> {
        let bytes = header.end - header.body;
        if bytes > limit {
            return Err(malformed("its index is larger than any real one"));
        }
        self.read(header.body, bytes)
    }

    fn read(&mut self, at: u64, bytes: u64) -> Result<Vec<u8>, ToolError> {
        let mut buffer = Vec::new();
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.take(bytes).read_to_end(&mut buffer))
            .map_err(|error| ToolError::io("read the source", error))?;
        Ok(buffer)
    }
}

fn malformed(why: &str) -> ToolError {
    ToolError::input(
        "malformed_source",
        format!("the source is not a valid mp4 or mov file: {why}"),
    )
}

fn truncated(end: &samples::DataEnd) -> ToolError {
    let (ends, promised) = (end.at.as_secs_f64(), end.promised.as_secs_f64());
    ToolError::input(
        "source_truncated",
        format!(
            "the source is cut short: its data ends at second {ends:.2} of {promised:.2} \
             ({:.2} s are missing); upload it again",
            (promised - ends).max(0.0)
        ),
    )
}

fn cut_fragment(start: Option<Duration>) -> ToolError {
    let start = start.unwrap_or_default().as_secs_f64();
    ToolError::input(
        "source_truncated",
        format!(
            "the source is cut short: it ends inside the fragment that begins at second \
             {start:.2}; upload it again"
        ),
    )
}

fn movie(moov: &[u8]) -> Result<Movie, ToolError> {
    let elsewhere = || children(moov).any(|(kind, trak)| &kind == b"trak" && is_elsewhere(trak));
    if child(moov, b"rmra").is_some() || elsewhere() {
        return Err(ToolError::input(
            "playlist_refused",
            "the source is a reference movie that points to media elsewhere; \
             submit the media file itself",
        ));
    }
    let turn = child(moov, b"mvhd")
        .and_then(|mvhd| Some(matrix(mvhd, versioned(mvhd, 36, 48)?)))
        .unwrap_or(IDENTITY);
    let tracks: Vec<Track> = children(moov)
        .filter(|(kind, _)| kind == b"trak")
        .map(|(_, trak)| track(trak, turn))
        .collect::<Result<_, _>>()?;
    if child(moov, b"pssh").is_some() {
        return Err(demux::encrypted());
    }
    let mvex = child(moov, b"mvex");
    Ok(Movie {
        tracks,
        fragmented: mvex.is_some(),
        duration: child(moov, b"mvhd").and_then(movie_duration),
        fragments_duration: mvex.and_then(|mvex| fragments_duration(moov, mvex)),
    })
}

/// Whether the samples of a track are in another file: a data reference that has a location, and no
/// flag that says otherwise (ISO/IEC 14496-12 section 8.7.2).
fn is_elsewhere(trak: &[u8]) -> bool {
    const ENTRIES: usize = 8;
    const SELF_CONTAINED: u8 = 1;
    let path = [b"mdia", b"minf", b"dinf", b"dref"];
    let dref = path.iter().try_fold(trak, |body, kind| child(body, kind));
    let entries = dref.and_then(|dref| dref.get(ENTRIES..)).unwrap_or(&[]);
    children(entries).any(|(_, entry)| {
        let located = entry.len() > 4 && entry[4..].iter().any(|byte| *byte != 0);
        located && entry[3] & SELF_CONTAINED == 0
    })
}

fn movie_duration(mvhd: &[u8]) -> Option<Duration> {
    let timescale = be_u32(mvhd, versioned(mvhd, 12, 20)?)?;
    let ticks = match mvhd.first()? {
        0 => u64::from(be_u32(mvhd, 16)?),
        _ => be_u64(mvhd, 24)?,
    };
    (ticks > 0).then(|| duration(ticks, timescale))
}

fn fragments_duration(moov: &[u8], mvex: &[u8]) -> Option<Duration> {
    let mvhd = child(moov, b"mvhd")?;
    let mehd = child(mvex, b"mehd")?;
    let timescale = be_u32(mvhd, versioned(mvhd, 12, 20)?)?;
    let ticks = match mehd.first()? {
        0 => u64::from(be_u32(mehd, 4)?),
        _ => be_u64(mehd, 4)?,
    };
    (ticks > 0).then(|| duration(ticks, timescale))
}

fn track(trak: &[u8], turn: Matrix) -> Result<Track, ToolError> {
    let mut track = Track {
        enabled: true,
        ..Track::default()
    };
    if let Some(tkhd) = child(trak, b"tkhd") {
        track.enabled = tkhd.get(3).is_some_and(|flags| flags & 1 == 1);
        track.id = versioned(tkhd, 12, 20)
            .and_then(|at| be_u32(tkhd, at))
            .unwrap_or(0);
        let own = versioned(tkhd, 40, 52).map_or(IDENTITY, |at| matrix(tkhd, at));
        track.orientation = orientation(product(own, turn));
    }
    let Some(mdia) = child(trak, b"mdia") else {
        return Ok(track);
    };
    if let Some(mdhd) = child(mdia, b"mdhd") {
        track.timescale = versioned(mdhd, 12, 20)
            .and_then(|at| be_u32(mdhd, at))
            .unwrap_or(0);
        track.language = versioned(mdhd, 20, 32).and_then(|at| language(mdhd, at));
    }
    let stsd = child(mdia, b"minf")
        .and_then(|minf| child(minf, b"stbl"))
        .and_then(|stbl| child(stbl, b"stsd"));
    for (kind, entry) in children(stsd.and_then(|stsd| stsd.get(8..)).unwrap_or_default()) {
        sample_entry(&mut track, kind, entry)?;
    }
    Ok(track)
}

/// Bytes of a visual sample entry before its child boxes.
const VISUAL_ENTRY_BYTES: usize = 78;

fn sample_entry(track: &mut Track, kind: [u8; 4], entry: &[u8]) -> Result<(), ToolError> {
    if matches!(&kind[..3], b"enc" | b"drm") {
        return Err(demux::encrypted());
    }
    let boxes = entry.get(VISUAL_ENTRY_BYTES..).unwrap_or_default();
    if child(boxes, b"sinf").is_some() {
        return Err(demux::encrypted());
    }
    let configuration =
        children(boxes).find(|(kind, _)| matches!(kind, b"dvcC" | b"dvvC" | b"dvwC"));
    let named = matches!(&kind, b"dvh1" | b"dvhe" | b"dva1" | b"dvav" | b"dav1");
    let said = configuration.map(|(_, body)| dolby_vision(body));
    let unsaid = DolbyVision {
        profile: None,
        compatibility: 0,
    };
    track.dolby_vision = track.dolby_vision.or(said).or(named.then_some(unsaid));
    Ok(())
}

/// `DOVIDecoderConfigurationRecord`: two bytes of version, seven bits of profile, nine of level and layers,
/// and four that say what the base layer is compatible with, 0 for nothing.
fn dolby_vision(record: &[u8]) -> DolbyVision {
    DolbyVision {
        profile: record.get(2).map(|byte| byte >> 1),
        compatibility: record.get(4).map_or(0, |byte| byte >> 4),
    }
}

impl DolbyVision {
    /// Whether the base layer is nothing that other decoders know. Records of the profiles that have been there
    /// from the first say nothing of it, and theirs is.
    pub(super) fn has_own_colours(self) -> bool {
        self.compatibility == 0 && !matches!(self.profile, Some(4 | 7 | 9))
    }

    /// The curve of a base layer in high dynamic range.
    pub(super) fn transfer(self) -> Option<&'static str> {
        match self.compatibility {
            1 | 6 => Some("smpte2084"),
            4 => Some("arib-std-b67"),
            _ => None,
        }
    }
}

/// Three letters in five bits each, packed into 16.
fn language(mdhd: &[u8], at: usize) -> Option<String> {
    let packed = u16::from_be_bytes(mdhd.get(at..at + 2)?.try_into().ok()?);
    let letters = [packed >> 10, packed >> 5, packed]
        .map(|bits| u8::try_from(bits & 0x1f).unwrap_or(0) + 0x60);
    let text = String::from_utf8(letters.to_vec()).ok()?;
    (text.bytes().all(|byte| byte.is_ascii_lowercase()) && text != "und").then_some(text)
}

/// `a b c d` of a transformation: `x' = a x + c y`, `y' = b x + d y`, in 16.16 fixed point.
type Matrix = [i64; 4];

const IDENTITY: Matrix = [1 << 16, 0, 0, 1 << 16];

fn matrix(full_box: &[u8], at: usize) -> Matrix {
    let cell = |n: usize| be_u32(full_box, at + 4 * n).map(|bits| i64::from(bits.cast_signed()));
    match (cell(0), cell(1), cell(3), cell(4)) {
        (Some(a), Some(b), Some(c), Some(d)) if [a, b, c, d] != [0; 4] => [a, b, c, d],
        _ => IDENTITY,
    }
}

/// First the track's own transformation, then the movie's.
fn product(own: Matrix, movie: Matrix) -> Matrix {
    let ([a, b, c, d], [e, f, g, h]) = (own, movie);
    [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h].map(|cell| cell >> 16)
}

/// A negative determinant mirrors; undoing that leaves a rotation, read off the first row.
fn orientation([a, b, c, d]: Matrix) -> Orientation {
    let mirrored = a * d - b * c < 0;
    let (a, c) = if mirrored { (-a, -c) } else { (a, c) };
    let rotation = match (a.abs() >= b.abs(), a >= 0, b >= 0) {
        (true, true, _) => 0,
        (true, false, _) => 180,
        (false, _, true) => 90,
        (false, _, false) => 270,
    };
    let quarter_turn = (b == 0 && c == 0) || (a == 0 && d == 0);
    Orientation {
        rotation,
        mirrored,
        inexact: !quarter_turn,
    }
}

/// The boxes in a body, up to the first one that does not fit.
fn children(body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let size = match be_u32(rest, 0)? {
            0 => rest.len(),
            size => usize::try_from(size).ok()?,
        };
        let kind = fourcc(rest.get(4..8)?);
        let content = rest.get(8..size)?;
        rest = &rest[size..];
        Some((kind, content))
    })
}

fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(body)
        .find(|found| &found.0 == kind)
        .map(|found| found.1)
}

/// The offset of a field of a full box whose times have 32 bits in version 0 and 64 in 1.
fn versioned(full_box: &[u8], version0: usize, version1: usize) -> Option<usize> {
    Some(if full_box.first()? == &0 {
        version0
    } else {
        version1
    })
}

fn fourcc(bytes: &[u8]) -> [u8; 4] {
    let mut kind = [0; 4];
    kind.copy_from_slice(bytes);
    kind
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn duration(ticks: u64, timescale: u32) -> Duration {
    let timescale = u64::from(timescale.max(1));
    Duration::from_secs(ticks / timescale)
        + Duration::from_nanos(ticks % timescale * 1_000_000_000 / timescale)
}
