//! What a multivariant playlist says, and the rules that it alone can break.

use std::collections::{BTreeMap, BTreeSet};

use super::m3u8::{Attributes, Item, Playlist, What};
use super::media::path_of;
use super::report::{FileReport, Place};
use super::rules::Rule;

/// A multivariant playlist that could be read.
#[derive(Debug, Default)]
pub(super) struct Multivariant {
    pub(super) variants: Vec<Variant>,
    pub(super) media: Vec<Media>,
    /// I-frame playlists.
    pub(super) i_frames: Vec<(u32, String)>,
    pub(super) independent: bool,
}

/// A variant stream.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) line: u32,
    pub(super) path: String,
    pub(super) bandwidth: Option<u64>,
    pub(super) average: Option<u64>,
    pub(super) codecs: Option<String>,
    pub(super) resolution: Option<(u64, u64)>,
    pub(super) frame_rate: Option<f64>,
    pub(super) range: Option<String>,
    pub(super) captions: Option<String>,
    /// Attribute and group.
    pub(super) groups: BTreeMap<&'static str, String>,
}

impl Variant {
    pub(super) fn place(&self) -> Place {
        Place::line(self.line)
    }
}

/// A rendition of a group.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) line: u32,
    pub(super) kind: String,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) language: Option<String>,
    pub(super) channels: Option<String>,
    pub(super) default: bool,
    pub(super) autoselect: Option<String>,
    pub(super) path: Option<String>,
}

/// Attributes of a variant that name groups, and the type of those groups.
const GROUPS: [(&str, &str); 4] = [
    ("AUDIO", "AUDIO"),
    ("VIDEO", "VIDEO"),
    ("SUBTITLES", "SUBTITLES"),
    ("CLOSED-CAPTIONS", "CLOSED-CAPTIONS"),
];

impl Multivariant {
    /// Understands the lines of a multivariant playlist.
    pub(super) fn read(playlist: &Playlist<'_>, report: &mut FileReport<'_>) -> Self {
        let mut read = Self {
            independent: playlist.has("#EXT-X-INDEPENDENT-SEGMENTS"),
            ..Self::default()
        };
        let mut pending = None;
        for Item { line, what } in &playlist.items {
            let (line, before) = (*line, pending.take());
            match (what, before) {
                (What::Uri(uri), Some((at, attributes))) => {
                    if let Some(path) = path_of(line, uri, report) {
                        read.variants.push(variant(at, attributes, path));
                    }
                }
                (What::Uri(_), None) => {
                    let what = "a URI without EXT-X-STREAM-INF before it";
                    report.say(Rule::M3u8Tag, Place::line(line), what);
                }
                (What::Tag(_), Some((at, _))) => {
                    let what = "EXT-X-STREAM-INF is not followed by a URI";
                    report.say(Rule::M3u8Tag, Place::line(at), what);
                }
                (What::Tag(_), None) => {}
            }
            if let What::Tag(tag) = what {
                match tag.name {
                    "#EXT-X-STREAM-INF" => pending = Some((line, &tag.attributes)),
                    "#EXT-X-MEDIA" => read.media.extend(media(line, &tag.attributes, report)),
                    "#EXT-X-I-FRAME-STREAM-INF" => {
                        let uri = tag.attributes.get("URI");
                        let path = uri.and_then(|uri| path_of(line, uri, report));
                        read.i_frames.extend(path.map(|path| (line, path)));
                    }
                    _ => {}
                }
            }
        }
        if let Some((at, _)) = pending {
            let what = "EXT-X-STREAM-INF is not followed by a URI";
            report.say(Rule::M3u8Tag, Place::line(at), what);
        }
        read
    }

    /// The rules that the playlist alone can break.
    pub(super) fn check(&self, report: &mut FileReport<'_>) {
        if self.variants.is_empty() {
            report.say(Rule::HlsEmpty, Place::FILE, "it has no variant");
        }
        if !self.independent {
            let what = "EXT-X-INDEPENDENT-SEGMENTS is missing";
            report.say(Rule::HlsIndependentSegments, Place::FILE, what);
        }
        let mut seen = BTreeSet::new();
        for variant in &self.variants {
            if !seen.insert((&variant.path, &variant.groups)) {
                let what = format!("{} is listed already", variant.path);
                report.say(Rule::HlsVariantUnique, variant.place(), what);
            }
            self.check_groups_of(variant, report);
        }
        self.check_groups(report);
    }

    fn check_groups_of(&self, variant: &Variant, report: &mut FileReport<'_>) {
        for (attribute, kind) in GROUPS {
            let Some(group) = variant.groups.get(attribute) else {
                continue;
            };
            let exists = |media: &Media| (media.kind.as_str(), &media.group) == (kind, group);
            if !self.media.iter().any(exists) {
                let what = format!("{attribute} names the group {group:?}, which is not there");
                report.say(Rule::HlsGroup, variant.place(), what);
            }
        }
        if variant.captions.is_none() && variant.resolution.is_some() {
            let what = "CLOSED-CAPTIONS is missing";
            report.say(Rule::HlsClosedCaptions, variant.place(), what);
        }
    }

    fn check_groups(&self, report: &mut FileReport<'_>) {
        let mut groups: BTreeMap<_, Vec<&Media>> = BTreeMap::new();
        for media in &self.media {
            groups
                .entry((&media.kind, &media.group))
                .or_default()
                .push(media);
        }
        for ((kind, group), members) in groups {
            let place = Place::line(members[0].line);
            let named = self
                .variants
                .iter()
                .any(|variant| variant.groups.get(kind.as_str()) == Some(group));
            if !named {
                let what = format!("no variant names the {kind} group {group:?}");
                report.house().say(Rule::HlsGroup, place.clone(), what);
            }
            let names: BTreeSet<_> = members.iter().map(|media| &media.name).collect();
            if names.len() < members.len() {
                let what = format!("two renditions of the group {group:?} have one NAME");
                report.say(Rule::HlsName, place.clone(), what);
            }
            let defaults = members.iter().filter(|media| media.default).count();
            if kind == "AUDIO" && defaults != 1 {
                let at = (place, "renditions with DEFAULT=YES");
                if defaults == 0 {
                    report.house().equal(Rule::HlsDefault, at, 1, defaults);
                } else {
                    report.equal(Rule::HlsDefault, at, 1, defaults);
                }
            }
        }
        for media in &self.media {
            media.check(report);
        }
    }

    /// The audio renditions that play with a variant.
    pub(super) fn audio_of(&self, variant: &Variant) -> impl Iterator<Item = &Media> {
        let group = variant.groups.get("AUDIO").cloned();
        let members = self.media.iter().filter(|media| media.kind == "AUDIO");
        members.filter(move |media| Some(&media.group) == group.as_ref())
    }
}

impl Media {
    fn check(&self, report: &mut FileReport<'_>) {
        let place = || Place::line(self.line);
        if self.default && self.autoselect.as_deref().is_some_and(|auto| auto != "YES") {
            let what = "it is DEFAULT=YES, but not AUTOSELECT=YES";
            report.say(Rule::HlsDefault, place(), what);
        }
        if self.kind == "AUDIO" && self.language.is_none() {
            let mut report = report.house();
            report.say(Rule::HlsLanguage, place(), "LANGUAGE is missing");
        }
        if let Some(language) = &self.language
            && !is_language(language)
        {
            let what = format!("{language:?} is no language tag");
            report.say(Rule::HlsLanguage, place(), what);
        }
        if self.kind == "AUDIO" && self.channels.is_none() {
            let mut report = report.house();
            report.say(Rule::HlsChannels, place(), "CHANNELS is missing");
        }
    }
}

fn variant(line: u32, attributes: &Attributes<'_>, path: String) -> Variant {
    let text = |name| attributes.get(name).map(str::to_owned);
    let groups = GROUPS.iter().filter_map(|(name, _)| {
        let quoted = attributes.word(name).is_none();
        let group = attributes.get(name).filter(|_| quoted)?;
        Some((*name, group.to_owned()))
    });
    Variant {
        line,
        path,
        bandwidth: attributes.integer("BANDWIDTH"),
        average: attributes.integer("AVERAGE-BANDWIDTH"),
        codecs: text("CODECS"),
        resolution: attributes.resolution("RESOLUTION"),
        frame_rate: attributes.decimal("FRAME-RATE"),
        range: text("VIDEO-RANGE"),
        captions: text("CLOSED-CAPTIONS"),
        groups: groups.collect(),
    }
}

/// `None` if it lacks what it cannot do without, which is said elsewhere.
fn media(line: u32, attributes: &Attributes<'_>, report: &mut FileReport<'_>) -> Option<Media> {
    let text = |name| attributes.get(name).map(str::to_owned);
    let path = attributes
        .get("URI")
        .and_then(|uri| path_of(line, uri, report));
    Some(Media {
        line,
        kind: text("TYPE")?,
        group: text("GROUP-ID")?,
        name: text("NAME")?,
        language: text("LANGUAGE"),
        channels: text("CHANNELS"),
        default: attributes.get("DEFAULT") == Some("YES"),
        autoselect: text("AUTOSELECT"),
        path,
    })
}

/// The form of RFC 5646: a language of two to eight letters, then parts of one to eight letters
/// or digits. Whether the parts are registered is not looked up.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    let letters = language.bytes().all(|byte| byte.is_ascii_alphabetic());
    let of_a_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    letters && (2..=8).contains(&language.len()) && parts.all(of_a_part)
}
