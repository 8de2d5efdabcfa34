//! What a media playlist says, and the rules that it alone can break.

use std::collections::HashSet;

use super::m3u8::{Attributes, Item, Playlist, Tag, What, duration};
use super::report::{FileReport, Place};
use super::rules::Rule;
use super::set::{Part, Unresolved, resolve};

/// A shorter last segment makes players stumble, in seconds.
const SHORTEST_LAST_S: f64 = 0.5;

/// Headers of a playlist that are read: a day with an advertisement every five minutes has 600.
const MAX_MAPS: usize = 1000;

/// A media playlist that could be read.
#[derive(Debug)]
pub(super) struct MediaPlaylist {
    pub(super) sequence: u64,
    pub(super) target: Option<(u32, u64)>,
    pub(super) independent: bool,
    pub(super) i_frames_only: bool,
    /// Line of the first tag that encrypts.
    pub(super) encrypted: Option<u32>,
    /// Headers, each once.
    pub(super) maps: Vec<Resource>,
    pub(super) entries: Vec<Entry>,
    /// What applies to the next segment.
    map: Map,
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Map {
    /// No EXT-X-MAP stands before the segment.
    #[default]
    Absent,
    /// There is one, and what it names cannot be judged.
    Unknown,
    /// The header by its place among the maps.
    At(usize),
}

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resource {
    pub(super) line: u32,
    pub(super) path: String,
    pub(super) part: Part,
}

/// A segment as the playlist lists it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) resource: Resource,
    /// EXTINF, with its line.
    pub(super) duration: (u32, f64),
    pub(super) map: Map,
    /// Whether times start anew with it.
    pub(super) discontinuity: bool,
    /// Whether it is absent on purpose.
    pub(super) gap: bool,
}

/// What the tags so far say of the next segment.
#[derive(Default)]
struct Pending {
    duration: Option<(u32, f64)>,
    range: Option<(u64, Option<u64>)>,
    discontinuity: bool,
    gap: bool,
}

impl MediaPlaylist {
    /// Understands the lines of a media playlist.
    pub(super) fn read(playlist: &Playlist<'_>, report: &mut FileReport<'_>) -> Self {
        let mut read = Self {
            sequence: playlist
                .integer("#EXT-X-MEDIA-SEQUENCE")
                .map_or(0, |(_, number)| number),
            target: playlist.integer("#EXT-X-TARGETDURATION"),
            independent: playlist.has("#EXT-X-INDEPENDENT-SEGMENTS"),
            i_frames_only: playlist.has("#EXT-X-I-FRAMES-ONLY"),
            encrypted: None,
            maps: Vec::new(),
            entries: Vec::new(),
            map: Map::Absent,
        };
        let mut pending = Pending::default();
        for Item { line, what } in &playlist.items {
            match what {
                What::Tag(tag) => read.tag(*line, tag, &mut pending, report),
                What::Uri(uri) => read.uri(*line, uri, std::mem::take(&mut pending), report),
            }
        }
        if let Some((line, _)) = pending.duration {
            let place = Place::line(line);
            report.say(Rule::M3u8Tag, place, "EXTINF is followed by no URI");
        }
        read
    }

    fn tag(
        &mut self,
        line: u32,
        tag: &Tag<'_>,
        pending: &mut Pending,
        report: &mut FileReport<'_>,
    ) {
        match tag.name {
            "#EXTINF" => {
                let seconds = duration(tag.text).and_then(|text| text.parse().ok());
                let twice = pending.duration.replace((line, seconds.unwrap_or(0.0)));
                if twice.is_some() {
                    let place = Place::line(line);
                    report.say(Rule::M3u8Tag, place, "a segment has two EXTINF");
                }
            }
            "#EXT-X-BYTERANGE" => pending.range = range(tag.text),
            "#EXT-X-DISCONTINUITY" => pending.discontinuity = true,
            "#EXT-X-GAP" => pending.gap = true,
            "#EXT-X-KEY" if tag.attributes.word("METHOD") != Some("NONE") => {
                self.encrypted.get_or_insert(line);
            }
            "#EXT-X-MAP" => {
                let map = map(line, &tag.attributes, report);
                self.follow(map, report);
            }
            "#EXT-X-MEDIA-SEQUENCE" | "#EXT-X-DISCONTINUITY-SEQUENCE"
                if !self.entries.is_empty() =>
            {
                let late = format!("{} stands behind a segment", tag.name);
                report.say(Rule::M3u8Tag, Place::line(line), late);
            }
            _ => {}
        }
    }

    fn uri(&mut self, line: u32, uri: &str, pending: Pending, report: &mut FileReport<'_>) {
        let place = Place::line(line);
        let Some(duration) = pending.duration else {
            report.say(Rule::M3u8Tag, place, "a URI without EXTINF");
            return;
        };
        let Some(path) = path_of(line, uri, report) else {
            return;
        };
        let part = match pending.range {
            None => Part::Whole,
            Some((len, Some(offset))) => Part::Range { offset, len },
            Some((len, None)) => match self.end_in(&path) {
                Some(offset) => Part::Range { offset, len },
                None => {
                    report.say(
                        Rule::M3u8Tag,
                        place,
                        "a range of a new file needs an offset",
                    );
                    return;
                }
            },
        };
        let resource = Resource { line, path, part };
        self.entries.push(Entry {
            resource,
            duration,
            map: self.map,
            discontinuity: pending.discontinuity,
            gap: pending.gap,
        });
    }

    /// Applies a header to the segments that come. The same one may be named again and again.
    fn follow(&mut self, map: Option<Resource>, report: &mut FileReport<'_>) {
        let Some(map) = map else {
            self.map = Map::Unknown;
            return;
        };
        let same = |known: &Resource| (&known.path, known.part) == (&map.path, map.part);
        let known = self.maps.iter().position(same);
        if known.is_none() && self.maps.len() >= MAX_MAPS {
            let what = format!("there are more than {MAX_MAPS} headers");
            report.say(Rule::TooMuch, Place::line(map.line), what);
            self.map = Map::Unknown;
            return;
        }
        self.map = Map::At(known.unwrap_or(self.maps.len()));
        if known.is_none() {
            self.maps.push(map);
        }
    }

    /// The offset behind the segment before, if it is in the same file.
    fn end_in(&self, path: &str) -> Option<u64> {
        let last = &self.entries.last()?.resource;
        match last.part {
            Part::Range { offset, len } if last.path == path => offset.checked_add(len),
            _ => None,
        }
    }

    /// The rules that the playlist alone can break; `judged` tells whether its segments are looked
    /// at too, to which some of them belong.
    pub(super) fn check(&self, playlist: &Playlist<'_>, judged: bool, report: &mut FileReport<'_>) {
        check_version(playlist, report);
        if !playlist.has("#EXT-X-ENDLIST") {
            report.say(Rule::HlsEndlist, Place::FILE, "EXT-X-ENDLIST is missing");
        }
        let kind = playlist.tags("#EXT-X-PLAYLIST-TYPE").next();
        if kind.map(|(_, tag)| tag.text) != Some("VOD") {
            let place = kind.map_or(Place::FILE, |(line, _)| Place::line(line));
            report.say(Rule::HlsPlaylistType, place, "it is not of type VOD");
        }
        if self.entries.is_empty() {
            report.say(Rule::HlsEmpty, Place::FILE, "it has no segment");
        }
        self.check_target(report);
        if judged {
            self.check_loose(report);
            self.check_last(report);
            self.check_once(report);
        }
    }

    /// The first segment in the playlist that has no header.
    pub(super) fn without_map(&self) -> Option<&Entry> {
        let mut there = self.entries.iter().filter(|entry| !entry.gap);
        there.find(|entry| entry.map == Map::Absent)
    }

    fn check_target(&self, report: &mut FileReport<'_>) {
        let rule = Rule::HlsTargetDuration;
        let Some((_, target)) = self.target else {
            report.say(rule, Place::FILE, "EXT-X-TARGETDURATION is missing");
            return;
        };
        for entry in &self.entries {
            let (line, duration) = entry.duration;
            // Which way half a second is rounded, the standard does not say.
            if duration > target as f64 + 0.5 {
                let at = (
                    Place::line(line),
                    "a segment is longer than the target duration",
                );
                report.differs(
                    rule,
                    at,
                    format!("at most {target} s"),
                    format!("{duration} s"),
                );
            }
        }
    }

    fn check_loose(&self, report: &mut FileReport<'_>) {
        let Some((line, target)) = self.target else {
            return;
        };
        let longest = self.entries.iter().map(|entry| entry.duration.1);
        let longest = longest.fold(0.0, f64::max);
        if !self.entries.is_empty() && target as f64 > longest.ceil().max(1.0) {
            let at = (Place::line(line), "the target duration is too large");
            let expected = format!("at most {} s", longest.ceil().max(1.0));
            report.differs(
                Rule::HlsTargetDurationLoose,
                at,
                expected,
                format!("{target} s"),
            );
        }
    }

    fn check_once(&self, report: &mut FileReport<'_>) {
        let mut seen = HashSet::new();
        for Entry {
            resource,
            discontinuity,
            ..
        } in &self.entries
        {
            let Resource { line, path, part } = resource;
            if !seen.insert((path, part)) && !discontinuity {
                let place = Place::line(*line);
                report.say(Rule::HlsUriOnce, place, format!("{path} is listed already"));
            }
        }
    }

    fn check_last(&self, report: &mut FileReport<'_>) {
        if let [_, .., last] = self.entries.as_slice()
            && last.duration.1 < SHORTEST_LAST_S
        {
            let at = (
                Place::line(last.duration.0),
                "the last segment is too short",
            );
            let measured = format!("{} s", last.duration.1);
            report.differs(Rule::HlsLastSegment, at, "at least 0.5 s", measured);
        }
    }
}

/// `length[@offset]`.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    match text.split_once('@') {
        Some((len, offset)) => Some((len.parse().ok()?, Some(offset.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

fn map(line: u32, attributes: &Attributes<'_>, report: &mut FileReport<'_>) -> Option<Resource> {
    let path = path_of(line, attributes.get("URI")?, report)?;
    let part = match attributes.get("BYTERANGE") {
        None => Part::Whole,
        Some(text) => match range(text) {
            Some((len, offset)) => Part::Range {
                offset: offset.unwrap_or(0),
                len,
            },
            None => {
                let what = "BYTERANGE is no range";
                report.say(Rule::M3u8AttributeType, Place::line(line), what);
                return None;
            }
        },
    };
    Some(Resource { line, path, part })
}

/// The file that a URI names; says why it names none.
pub(super) fn path_of(line: u32, uri: &str, report: &mut FileReport<'_>) -> Option<String> {
    match resolve(report.file, uri) {
        Ok(path) => Some(path),
        Err(Unresolved::Malformed(why)) => {
            report.say(Rule::HlsUri, Place::line(line), format!("{uri:?}: {why}"));
            None
        }
        Err(Unresolved::Outside(why)) => {
            let what = format!("{uri:?}: {why}, so what it names is not judged");
            report.house().say(Rule::HlsUri, Place::line(line), what);
            None
        }
        Err(Unresolved::Variable) => {
            let what = format!("{uri:?} has variables, so what it names is not judged");
            report.say(Rule::NotJudged, Place::line(line), what);
            None
        }
    }
}

/// The lowest version that the tags of a playlist ask for (RFC 8216bis, section 8).
pub(super) fn check_version(playlist: &Playlist<'_>, report: &mut FileReport<'_>) {
    let i_frames = playlist.has("#EXT-X-I-FRAMES-ONLY");
    let asked = playlist.items.iter().filter_map(|item| match &item.what {
        What::Tag(tag) => Some((asks_for(tag, i_frames), tag.name)),
        What::Uri(_) => None,
    });
    let Some((needed, by)) = asked.max_by_key(|(version, _)| *version) else {
        return;
    };
    let stated = playlist.integer("#EXT-X-VERSION");
    if stated.map_or(1, |(_, version)| version) < needed {
        let place = stated.map_or(Place::FILE, |(line, _)| Place::line(line));
        let found = stated.map_or("none".to_owned(), |(_, version)| version.to_string());
        let what = format!("{by} asks for a higher version");
        report.differs(Rule::HlsVersion, (place, &what), needed, found);
    }
}

fn asks_for(tag: &Tag<'_>, i_frames: bool) -> u64 {
    let has = |name| tag.attributes.get(name).is_some();
    match tag.name {
        "#EXT-X-DEFINE" if has("QUERYPARAM") => 11,
        "#EXT-X-DEFINE" => 8,
        "#EXT-X-MAP" if i_frames => 5,
        "#EXT-X-MAP" => 6,
        "#EXT-X-KEY" if has("KEYFORMAT") || has("KEYFORMATVERSIONS") => 5,
        "#EXT-X-BYTERANGE" | "#EXT-X-I-FRAMES-ONLY" => 4,
        "#EXTINF" if duration(tag.text).is_some_and(|text| text.contains('.')) => 3,
        "#EXT-X-KEY" if has("IV") => 2,
        "#EXT-X-MEDIA" => match tag.attributes.get("INSTREAM-ID") {
            Some(id) if id.starts_with("SERVICE") => 7,
            _ => 1,
        },
        "#EXT-X-STREAM-INF" | "#EXT-X-I-FRAME-STREAM-INF" if has("REQ-VIDEO-LAYOUT") => 12,
        _ => 1,
    }
}
