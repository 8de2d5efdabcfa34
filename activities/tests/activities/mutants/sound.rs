//! Mutants of a set that is sound alone: no picture holds its times, no group names its tracks.

use telecine_activities::lint::Rule::{self, *};

use super::surgery::Change::{self, *};
use super::{Mutant, boxes, playlists};

/// Every mutant of a set of sound.
pub(crate) fn all() -> Vec<Mutant> {
    let named = |name: &'static str, table: Vec<(Change, Rule)>| {
        let table = table.into_iter();
        table.map(move |(change, rule)| (name, change, rule))
    };
    let tables = named("master", playlists::text())
        .chain(named("master", variant()))
        .chain(named("audio/playlist", playlists::text()))
        .chain(named("audio/playlist", media()))
        .chain(named("audio/playlist", entries()))
        .chain(named("audio/init", header()))
        .chain(named("audio/2", segment()));
    tables.chain(files()).collect()
}

/// The one variant that a player is offered.
fn variant() -> Vec<(Change, Rule)> {
    vec![
        (
            Text("#EXT-X-INDEPENDENT-SEGMENTS\n", ""),
            HlsIndependentSegments,
        ),
        (Text("#EXT-X-STREAM-INF:", "#EXT-X-STREAM:"), M3u8Tag),
        (Text("audio/und_aac_2ch/playlist.m3u8\n", ""), M3u8Tag),
        (Text("audio/und", "audio/eng"), HlsUriExists),
        (Text("audio/und", "/audio/und"), HlsUri),
        (
            Text("und_aac_2ch/playlist.m3u8", "und_aac_2ch/init.mp4"),
            M3u8Encoding,
        ),
        (
            Text("audio/und_aac_2ch/playlist.m3u8", "master.m3u8"),
            M3u8Kind,
        ),
        (Text(":BANDWIDTH=", ":BANDWIDTH=2"), HlsBandwidth),
        (Text(":BANDWIDTH=1", ":BANDWIDTH="), HlsBandwidth),
        (
            Text("AVERAGE-BANDWIDTH=", "AVERAGE-BANDWIDTH=2"),
            HlsAverageBandwidth,
        ),
        (Text(":BANDWIDTH", ":BANDWIDHT"), M3u8AttributeMissing),
        (Text("mp4a.40.2", "mp4a.40.5"), HlsCodecs),
        (Text("mp4a.40.2", "avc1.64001e"), HlsCodecs),
        (Text("mp4a.40.2", "avc1.64001e,mp4a.40.2"), HlsCodecs),
        (Text("\"mp4a.40.2\"", "mp4a.40.2"), M3u8AttributeType),
        (
            Text("\"mp4a.40.2\"", "\"mp4a.40.2\",RESOLUTION=640x360"),
            HlsResolution,
        ),
        (
            Text("\"mp4a.40.2\"", "\"mp4a.40.2\",AUDIO=\"sound\""),
            HlsGroup,
        ),
    ]
}

/// Tags of the media playlist. There is no other whose numbers it would have to share, and segments of
/// up to 6.016 s may be rounded up to 7.
fn media() -> Vec<(Change, Rule)> {
    let mut mutants = playlists::media();
    mutants.retain(|(_, rule)| ![HlsMediaSequence, HlsTargetDurationLoose].contains(rule));
    mutants.push((
        Text("TARGETDURATION:6", "TARGETDURATION:8"),
        HlsTargetDurationLoose,
    ));
    mutants
}

/// Header and segments as the playlist names them.
fn entries() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXT-X-MAP:URI=\"init.mp4\"\n", ""), HlsMap),
        (Text("init.mp4", "other.mp4"), HlsUriExists),
        (Text("#EXTINF:5.99", "#EXTINF:5.98"), HlsExtinf),
        (Text("#EXTINF:6.01", "#EXTINF:6.11"), HlsExtinf),
        (Swap("seg_00001", "seg_00002"), CmafSequenceNumber),
        (Text("seg_00002", "seg_00001"), HlsUriOnce),
        (Text("seg_00003", "seg_00004"), HlsUriExists),
    ]
}

/// What the header says of sound, but its language, which nothing else names.
fn header() -> Vec<(Change, Rule)> {
    let mut mutants = boxes::sound();
    mutants.retain(|(_, rule)| *rule != HlsLanguage);
    mutants
}

/// A segment, whose start no picture tells.
fn segment() -> Vec<(Change, Rule)> {
    let mut mutants = boxes::packets();
    mutants.retain(|(_, rule)| *rule != SetAudioBoundary);
    mutants.push((Xor("moof/traf/tfdt", 9, 1), CmafGap));
    mutants
}

fn files() -> Vec<Mutant> {
    vec![
        ("audio/playlist", Delete, HlsUriExists),
        ("audio/init", Delete, HlsUriExists),
        ("audio/1", Delete, HlsUriExists),
        ("audio/3", Delete, HlsUriExists),
        ("audio/2", Copy("audio/1"), CmafSequenceNumber),
        ("audio/2", Copy("audio/init"), BoxMissing),
        ("audio/2", Cut(1), BoxSize),
        ("master", Copy("audio/playlist"), HlsUriExists),
    ]
}
