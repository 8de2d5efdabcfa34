//! Judges a streaming set by stable rules: its playlists, boxes, parameter sets and samples.
//!
//! The linter reads everything by itself, from the bytes: it shares no parser with the code that
//! writes sets, so that it can judge those and foreign ones alike; only [`Recorded`] knows what
//! that code records. What it reads may be hostile. Every read is bounded, nothing recurses, and
//! what makes no sense is a [`Finding`].
//!
//! * [`Rule`] is the one table of rules; a [`Profile`] tells which of them a set has to keep.
//! * [`SetReader`] is a set as relative paths, wherever it is; [`Directory`] is the plainest.
//! * [`lint`] reads a set from one playlist on, or thumbnails from their WebVTT on. It does not decode: [`Track`]s of its
//!   answer can be decoded by the check tool.

mod aac;
mod across;
mod bits;
mod boxes;
mod format;
mod fragment;
mod h264;
mod header;
mod language;
mod m3u8;
mod media;
mod multivariant;
mod recorded;
mod rendition;
mod report;
mod rules;
mod set;
mod thumbnails;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use across::Renditions;
use format::Format;
use m3u8::Kind;
use media::{Map, MediaPlaylist, Resource};
use multivariant::Multivariant;
use rendition::Rendition;
use thumbnails::{Extent, Thumbnail};

pub use recorded::Recorded;
pub use report::{Finding, Place, Report};
pub use rules::{Demand, Profile, Rule, Severity};
pub use set::{Directory, Part, SetError, SetReader, Unresolved, resolve};

/// The largest playlist; one of a day has 0.7 MB.
pub const MAX_PLAYLIST_BYTES: u64 = 8 << 20;

/// The largest header; they have a kilobyte.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;

/// The largest segment: 20 s at 100 Mbit/s.
pub const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// The latest time in ticks. Beyond this no clock counts, and sums of times cannot overflow.
const LATEST: u64 = 1 << 60;

/// The largest picture that a thumbnail is part of.
pub const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// Media playlists of a set that are read, and pictures of an index of thumbnails.
const MAX_RENDITIONS: usize = 200;

/// What linting came to.
#[derive(Debug, Default)]
pub struct Linted {
    /// The findings, and how much was looked at.
    pub report: Report,
    /// What can be decoded.
    pub tracks: Vec<Track>,
}

/// A track whose boxes could be read, so that its samples can be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Path of its playlist.
    pub playlist: String,
    /// What its packets hold if it is sound; else it is H.264.
    pub audio: Option<Packets>,
    /// Ticks per second.
    pub timescale: u32,
    /// Its header.
    pub header: (String, Part),
    /// Its segments in order, each once.
    pub segments: Vec<TrackSegment>,
}

/// What a packet of AAC holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    /// Samples of the core per packet; replication of the spectrum doubles them.
    pub samples: u32,
    /// Samples of the core per second.
    pub rate: u32,
    /// Packets at the start that the edit list takes away, which decoders may leave out.
    pub priming: u64,
}

/// A segment of a [`Track`].
#[derive(Debug, Clone, PartialEq)]
pub struct TrackSegment {
    /// Where it is.
    pub file: (String, Part),
    /// Decode time of its first sample, in ticks.
    pub start_ticks: u64,
    /// Number of samples.
    pub samples: u32,
}

/// What a set is measured by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// Which rules are errors.
    pub profile: Profile,
    /// What was recorded when the set was made, if that is known.
    pub recorded: Option<&'a Recorded>,
}

/// Reads a set from its `entries` on and judges it: from a playlist, or from the WebVTT of thumbnails.
/// `tell` is called after each segment.
///
/// # Errors
/// If a file that is there cannot be read. A set that breaks rules is no error.
pub fn lint(
    set: &dyn SetReader,
    entries: &[String],
    terms: Terms<'_>,
    tell: &mut dyn FnMut(&Report),
) -> io::Result<Linted> {
    let recorded = terms.recorded;
    let mut linter = Linter {
        set,
        recorded,
        report: Report::new(terms.profile),
        read: BTreeSet::new(),
        tell,
    };
    let mut renditions = Renditions::new();
    for entry in entries {
        linter.set(entry, &mut renditions)?;
    }
    if let Some(recorded) = recorded {
        recorded.check(&linter.read, &renditions, &mut linter.report);
    }
    Ok(Linted {
        tracks: renditions.values().filter_map(track).collect(),
        report: linter.report,
    })
}

/// What a playlist leads to and the linter reads, in the order in which it names it; for fetching
/// a set. What is wrong with the playlist is not told.
#[must_use]
pub fn references(file: &str, bytes: &[u8]) -> Vec<Reference> {
    let mut quiet = Report::default();
    let mut quiet = quiet.file(file);
    if is_web_vtt(file, bytes) {
        let pictures = thumbnails::read(bytes, &mut quiet).into_iter();
        let pictures = pictures.map(|thumbnail| Reference {
            path: thumbnail.path,
            part: Part::Whole,
            target: Target::Picture,
        });
        return pictures.collect();
    }
    let Some(playlist) = m3u8::parse(bytes, &mut quiet) else {
        return Vec::new();
    };
    match playlist.kind {
        Kind::Multivariant => {
            let read = Multivariant::read(&playlist, &mut quiet);
            let listed = listed(&read);
            let playlists = listed.map(|listed| Reference {
                path: listed.path.to_owned(),
                part: Part::Whole,
                target: if listed.is_judged {
                    Target::Playlist
                } else {
                    Target::PlaylistAlone
                },
            });
            playlists.collect()
        }
        Kind::Media => {
            let read = MediaPlaylist::read(&playlist, &mut quiet);
            let first = read.without_map().map(|entry| &entry.resource);
            let judged = read.entries.iter();
            let judged = judged.filter(|entry| matches!(entry.map, Map::At(_)) && !entry.gap);
            let segments = judged.map(|entry| &entry.resource).chain(first);
            let maps = read.maps.iter().map(|map| (map, Target::Header));
            let all = maps.chain(segments.map(|segment| (segment, Target::Segment)));
            let reference = |(resource, target): (&Resource, Target)| Reference {
                path: resource.path.clone(),
                part: resource.part,
                target,
            };
            all.map(reference).collect()
        }
    }
}

/// Something that a playlist leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Path in the set.
    pub path: String,
    /// Which bytes of it.
    pub part: Part,
    /// What it is.
    pub target: Target,
}

/// What a URI of a playlist leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A media playlist.
    Playlist,
    /// A media playlist whose segments are not looked at.
    PlaylistAlone,
    /// A header.
    Header,
    /// A media segment.
    Segment,
    /// A picture that a thumbnail is part of.
    Picture,
}

/// A media playlist as a multivariant one lists it.
struct Listed<'a> {
    line: u32,
    path: &'a str,
    is_i_frames: bool,
    is_judged: bool,
}

/// Every media playlist of a multivariant one.
fn listed(multivariant: &Multivariant) -> impl Iterator<Item = Listed<'_>> {
    let new = |line, path, is_i_frames, is_judged| Listed {
        line,
        path,
        is_i_frames,
        is_judged,
    };
    let variants = multivariant.variants.iter();
    let variants = variants.map(move |variant| new(variant.line, &variant.path, false, true));
    let media = multivariant.media.iter().filter_map(move |media| {
        let path = media.path.as_ref()?;
        Some(new(media.line, path, false, media.kind != "SUBTITLES"))
    });
    let i_frames = multivariant.i_frames.iter();
    let i_frames = i_frames.map(move |(line, path)| new(*line, path, true, false));
    variants.chain(media).chain(i_frames)
}

/// Whether a file is taken for an index of thumbnails, so that what is wrong with its start is told.
fn is_web_vtt(file: &str, bytes: &[u8]) -> bool {
    file.ends_with(".vtt") || format::of(bytes) == Format::WebVtt
}

/// A file could not be read for a reason that is not the set's.
type Broken = io::Error;

struct Linter<'a> {
    set: &'a dyn SetReader,
    recorded: Option<&'a Recorded>,
    report: Report,
    /// Files that were read.
    read: BTreeSet<String>,
    tell: &'a mut dyn FnMut(&Report),
}

impl Linter<'_> {
    fn set(&mut self, entry: &str, renditions: &mut Renditions) -> Result<(), Broken> {
        let resource = Resource {
            line: 0,
            path: entry.to_owned(),
            part: Part::Whole,
        };
        let Some(bytes) = self.fetch(entry, &resource, MAX_PLAYLIST_BYTES)? else {
            return Ok(());
        };
        if is_web_vtt(entry, &bytes) {
            return self.thumbnails(entry, &bytes);
        }
        let Some(playlist) = m3u8::parse(&bytes, &mut self.report.file(entry)) else {
            return Ok(());
        };
        if playlist.kind == Kind::Media {
            let mut report = self.report.file(entry);
            let read = MediaPlaylist::read(&playlist, &mut report);
            read.check(&playlist, true, &mut report);
            if !read.independent {
                let what = "EXT-X-INDEPENDENT-SEGMENTS is missing";
                report.say(Rule::HlsIndependentSegments, Place::FILE, what);
            }
            let rendition = self.rendition(entry, read)?;
            renditions.insert(entry.to_owned(), rendition);
            return Ok(());
        }
        let multivariant = Multivariant::read(&playlist, &mut self.report.file(entry));
        media::check_version(&playlist, &mut self.report.file(entry));
        multivariant.check(&mut self.report.file(entry));
        self.media_playlists(entry, &multivariant, renditions)?;
        across::check(entry, &multivariant, renditions, &mut self.report);
        Ok(())
    }

    /// An index of thumbnails, and every picture that it names, once.
    fn thumbnails(&mut self, index: &str, bytes: &[u8]) -> Result<(), Broken> {
        let mut pictures = BTreeMap::new();
        for thumbnail in thumbnails::read(bytes, &mut self.report.file(index)) {
            let picture = match pictures.get(&thumbnail.path) {
                Some(picture) => *picture,
                None if pictures.len() == MAX_RENDITIONS => {
                    let (place, what) = (
                        Place::line(thumbnail.line),
                        "pictures from here on are not read",
                    );
                    self.report.file(index).say(Rule::TooMuch, place, what);
                    break;
                }
                None => {
                    let picture = self.picture(index, &thumbnail)?;
                    pictures.insert(thumbnail.path.clone(), picture);
                    picture
                }
            };
            if let Some(picture) = picture {
                thumbnails::check(&thumbnail, picture, &mut self.report.file(index));
            }
        }
        Ok(())
    }

    /// The size of a picture.
    fn picture(&mut self, index: &str, thumbnail: &Thumbnail) -> Result<Option<Extent>, Broken> {
        let resource = Resource {
            line: thumbnail.line,
            path: thumbnail.path.clone(),
            part: Part::Whole,
        };
        let Some(bytes) = self.fetch(index, &resource, MAX_PICTURE_BYTES)? else {
            return Ok(None);
        };
        let extent = thumbnails::extent(&bytes);
        if extent.is_none() {
            let mut report = self.report.file(&thumbnail.path);
            report.say(
                Rule::VttPicture,
                Place::FILE,
                "it is no picture that can be read",
            );
        }
        Ok(extent)
    }

    /// Every media playlist that a multivariant one lists, once.
    fn media_playlists(
        &mut self,
        entry: &str,
        multivariant: &Multivariant,
        renditions: &mut Renditions,
    ) -> Result<(), Broken> {
        let mut tried = BTreeSet::new();
        for listed in listed(multivariant) {
            let Listed { line, path, .. } = listed;
            if !tried.insert(path.to_owned()) {
                continue;
            }
            if tried.len() > MAX_RENDITIONS {
                let what = "playlists from here on are not read";
                let mut report = self.report.file(entry);
                report.say(Rule::TooMuch, Place::line(line), what);
                break;
            }
            let Some(playlist) = self.media_playlist(entry, &listed)? else {
                continue;
            };
            if listed.is_judged {
                let rendition = self.rendition(path, playlist)?;
                renditions.insert(path.to_owned(), rendition);
            } else {
                let what = "its segments are not looked at";
                let mut report = self.report.file(path);
                report.say(Rule::NotJudged, Place::FILE, what);
            }
        }
        Ok(())
    }

    fn media_playlist(
        &mut self,
        from: &str,
        listed: &Listed<'_>,
    ) -> Result<Option<MediaPlaylist>, Broken> {
        let resource = Resource {
            line: listed.line,
            path: listed.path.to_owned(),
            part: Part::Whole,
        };
        let Some(bytes) = self.fetch(from, &resource, MAX_PLAYLIST_BYTES)? else {
            return Ok(None);
        };
        let mut report = self.report.file(listed.path);
        let Some(playlist) = m3u8::parse(&bytes, &mut report) else {
            return Ok(None);
        };
        if playlist.kind == Kind::Multivariant {
            let what = "it is listed as a media playlist, and is a multivariant one";
            report.say(Rule::M3u8Kind, Place::FILE, what);
            return Ok(None);
        }
        let read = MediaPlaylist::read(&playlist, &mut report);
        read.check(&playlist, listed.is_judged, &mut report);
        if read.i_frames_only != listed.is_i_frames {
            let what = "EXT-X-I-FRAMES-ONLY does not agree with how the playlist is listed";
            report.say(Rule::HlsIFrames, Place::FILE, what);
        }
        Ok(Some(read))
    }

    /// Reads what the file `from` refers to; `None` if that is not there or too large.
    fn fetch(
        &mut self,
        from: &str,
        resource: &Resource,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Broken> {
        let Resource { line, path, part } = resource;
        let place = if *line == 0 {
            Place::FILE
        } else {
            Place::line(*line)
        };
        match self.set.read(path, *part, limit) {
            Ok(bytes) => {
                self.report.size_bytes += bytes.len() as u64;
                self.read.insert(path.clone());
                if let (Some(recorded), Part::Whole) = (self.recorded, part) {
                    recorded.check_file(path, &bytes, &mut self.report.file(path));
                }
                if let Part::Range { len, .. } = part
                    && (bytes.len() as u64) < *len
                {
                    let what = format!("{path} ends before the range does");
                    self.report.file(from).say(Rule::HlsUriExists, place, what);
                    return Ok(None);
                }
                Ok(Some(bytes))
            }
            Err(SetError::NotFound) => {
                let what = format!("{path} is not there");
                self.report.file(from).say(Rule::HlsUriExists, place, what);
                Ok(None)
            }
            Err(error @ SetError::TooLarge { .. }) => {
                let what = format!("{path}: {error}");
                self.report.file(from).say(Rule::TooMuch, place, what);
                Ok(None)
            }
            Err(SetError::Io(error)) => {
                Err(io::Error::new(error.kind(), format!("{path}: {error}")))
            }
        }
    }
}

/// What of a rendition can be decoded: one header, and segments that could all be read.
fn track(rendition: &Rendition) -> Option<Track> {
    let header = rendition.header()?;
    let decodable = header.video().is_some_and(|video| video.avc.is_some())
        || header.audio().is_some_and(|audio| audio.config.is_some());
    let audio = header.audio().and_then(|audio| audio.config);
    let [map] = rendition.playlist.maps.as_slice() else {
        return None;
    };
    let segments = rendition.whole().filter(|_| decodable)?;
    let file = |resource: &Resource| (resource.path.clone(), resource.part);
    let entries = rendition.playlist.entries.iter();
    // What comes again decodes as it did.
    let mut seen = HashSet::new();
    let distinct = entries.zip(&segments).filter(|(entry, _)| {
        let Resource { path, part, .. } = &entry.resource;
        seen.insert((path, part))
    });
    Some(Track {
        playlist: rendition.file.clone(),
        audio: audio.map(|config| Packets {
            samples: config.packet,
            rate: config.rate,
            priming: priming(header.edit_start, rendition.sample_ticks),
        }),
        timescale: header.timescale,
        header: file(map),
        segments: distinct
            .map(|(entry, segment)| TrackSegment {
                file: file(&entry.resource),
                start_ticks: segment.start,
                samples: segment.samples,
            })
            .collect(),
    })
}

/// Packets that begin before the presentation does.
fn priming(edit_start: Option<u64>, sample_ticks: Option<(u32, u32, f64)>) -> u64 {
    let longest = sample_ticks.map_or(0, |(_, longest, _)| longest);
    edit_start.unwrap_or(0).div_ceil(u64::from(longest.max(1)))
}
