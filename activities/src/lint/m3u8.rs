//! Reads playlists strictly, line by line (RFC 8216bis, section 4). What cannot be understood is
//! said and left out.

mod attributes;
mod tags;

use super::report::{FileReport, Place};
use super::rules::Rule;

pub(super) use attributes::Attributes;
pub(super) use tags::duration;
use tags::{Home, Shape};

/// Lines of a playlist that are read: a day of segments of one second has 172,800.
const MAX_LINES: usize = 400_000;

/// The lines of a playlist that say something, in order.
#[derive(Debug)]
pub(super) struct Playlist<'a> {
    pub(super) kind: Kind,
    pub(super) items: Vec<Item<'a>>,
}

/// The two kinds of playlists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Multivariant,
    Media,
}

/// A tag or a URI.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) line: u32,
    pub(super) what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    Uri(&'a str),
    Tag(Tag<'a>),
}

/// A known tag with a value of its kind.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    pub(super) name: &'static str,
    /// What is behind the colon.
    pub(super) text: &'a str,
    /// The same, of a tag that has attributes.
    pub(super) attributes: Attributes<'a>,
}

impl Playlist<'_> {
    /// The value of a tag that is a whole number.
    pub(super) fn integer(&self, name: &str) -> Option<(u32, u64)> {
        self.tags(name)
            .find_map(|(line, tag)| Some((line, tag.text.parse().ok()?)))
    }

    /// Every tag of a name, with its line.
    pub(super) fn tags(&self, name: &str) -> impl Iterator<Item = (u32, &Tag<'_>)> {
        self.items.iter().filter_map(move |item| match &item.what {
            What::Tag(tag) if tag.name == name => Some((item.line, tag)),
            _ => None,
        })
    }

    /// Whether there is a tag of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tags(name).next().is_some()
    }
}

/// Reads a playlist; `None` if it is no text at all.
pub(super) fn parse<'a>(bytes: &'a [u8], report: &mut FileReport<'_>) -> Option<Playlist<'a>> {
    let text = text(bytes, report)?;
    let lines = lines(text, report);
    if lines.first().map(|(_, line)| *line) != Some("#EXTM3U") {
        report.say(
            Rule::M3u8Start,
            Place::line(1),
            "it does not begin with #EXTM3U",
        );
    }
    let kind = kind(&lines);
    let mut seen = Vec::new();
    let mut items = Vec::new();
    for (line, text) in lines {
        if let Some(what) = item(line, text, kind, report) {
            if let What::Tag(tag) = &what {
                check_once(line, tag.name, &mut seen, report);
            }
            items.push(Item { line, what });
        }
    }
    Some(Playlist { kind, items })
}

fn text<'a>(bytes: &'a [u8], report: &mut FileReport<'_>) -> Option<&'a str> {
    let encoding = Rule::M3u8Encoding;
    let Ok(text) = std::str::from_utf8(bytes) else {
        report.say(encoding, Place::FILE, "it is not UTF-8");
        return None;
    };
    let bare = text.strip_prefix('\u{feff}');
    if bare.is_some() {
        report.say(encoding, Place::line(1), "it begins with a byte order mark");
    }
    if !unicode_normalization::is_nfc(text) {
        report.say(
            Rule::M3u8Nfc,
            Place::FILE,
            "it is not in the normal form NFC",
        );
    }
    Some(bare.unwrap_or(text))
}

/// Lines that are not blank, with their numbers.
fn lines<'a>(text: &'a str, report: &mut FileReport<'_>) -> Vec<(u32, &'a str)> {
    if !text.ends_with('\n') {
        report.say(Rule::M3u8Line, Place::FILE, "its last line has no end");
    }
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place::line(number);
        if lines.len() >= MAX_LINES {
            report.say(Rule::TooMuch, place, "lines from here on are not read");
            break;
        }
        // A comment and the title of a segment may end with one.
        let is_free = line.starts_with("#EXTINF:") && line.contains(',')
            || line.starts_with('#') && !line.starts_with("#EXT");
        if line.trim_start() != line || line.trim_end() != line && !is_free {
            report.say(Rule::M3u8Line, place, "it begins or ends with a blank");
        } else if line.chars().any(char::is_control) {
            report.say(Rule::M3u8Encoding, place, "it has a control character");
        }
        if !line.trim().is_empty() {
            lines.push((number, line.trim()));
        }
    }
    lines
}

/// By the first tag that only one kind has.
fn kind(lines: &[(u32, &str)]) -> Kind {
    let homes = lines.iter().filter_map(|(_, line)| {
        let name = line.split(':').next().unwrap_or_default();
        tags::find(name).map(|spec| spec.home)
    });
    let mut telling = homes.filter(|home| *home != Home::Both);
    match telling.next() {
        Some(Home::Multivariant) => Kind::Multivariant,
        _ => Kind::Media,
    }
}

fn item<'a>(line: u32, text: &'a str, kind: Kind, report: &mut FileReport<'_>) -> Option<What<'a>> {
    if !text.starts_with('#') {
        return Some(What::Uri(text));
    }
    if !text.starts_with("#EXT") {
        return None;
    }
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let place = Place::line(line);
    let Some(spec) = tags::find(name) else {
        report.say(Rule::M3u8TagUnknown, place, format!("{name} is not known"));
        return None;
    };
    let stranger = match kind {
        Kind::Multivariant => spec.home == Home::Media,
        Kind::Media => spec.home == Home::Multivariant,
    };
    if stranger {
        let other = format!("{name} belongs to the other kind of playlist");
        report.say(Rule::M3u8Kind, place, other);
        return None;
    }
    if !spec.shape.holds(value) {
        let what = format!("{name} has the wrong kind of value");
        let (expected, found) = (spec.shape.name(), value.unwrap_or("nothing"));
        report.differs(Rule::M3u8Tag, (place, &what), expected, found);
        return None;
    }
    let text = value.unwrap_or_default();
    let attributes = match spec.shape {
        Shape::Attributes(specs) => Attributes::parse(text, specs, &mut (report, line)),
        _ => Attributes::default(),
    };
    Some(What::Tag(Tag {
        name: spec.name,
        text,
        attributes,
    }))
}

fn check_once(
    line: u32,
    name: &'static str,
    seen: &mut Vec<&'static str>,
    report: &mut FileReport<'_>,
) {
    if !tags::find(name).is_some_and(|spec| spec.once) {
        return;
    }
    if seen.contains(&name) {
        let twice = format!("{name} stands there a second time");
        report.say(Rule::M3u8TagOnce, Place::line(line), twice);
    }
    seen.push(name);
}
