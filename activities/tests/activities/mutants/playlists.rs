//! Mutants of playlists.

use telecine_activities::lint::Rule::{self, *};

use super::Mutant;
use super::surgery::Change::{self, *};

/// Every mutant of a playlist.
pub(crate) fn all() -> Vec<Mutant> {
    let named = |name: &'static str, table: &[(Change, Rule)]| -> Vec<Mutant> {
        table
            .iter()
            .map(|(change, rule)| (name, *change, *rule))
            .collect()
    };
    let tables = [
        named("360/playlist", &text()),
        named("360/playlist", &media()),
        named("360/playlist", &maps()),
        named("360/playlist", &durations()),
        named("360/playlist", &entries()),
        named("audio/playlist", &audio()),
        named("master", &text()),
        named("master", &tags()),
        named("master", &attributes()),
        named("master", &values()),
        files(),
    ];
    tables.concat()
}

/// What can be wrong with any playlist.
pub(super) fn text() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXTM3U\n", ""), M3u8Start),
        (Text("#EXTM3U", "#EXTM3U8"), M3u8Start),
        (Text("#EXTM3U\n", "#EXTM3U\n#EXTM3U\n"), M3u8TagOnce),
        (
            Text("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-VERSION:6\n"),
            M3u8TagOnce,
        ),
        (Text("VERSION:6", "VERSION:six"), M3u8Tag),
        (Text("VERSION:6", "VERSION: 6"), M3u8Tag),
        (Text("VERSION:6", "VERSION"), M3u8Tag),
        (Text("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6 \n"), M3u8Line),
        (Text("#EXT-X-VERSION", " #EXT-X-VERSION"), M3u8Line),
        (
            Text("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\r\r\n"),
            M3u8Line,
        ),
        (Text("#EXT-X-VERSION:6", "#EXT-X-VERSION:6\u{b}"), M3u8Line),
        (
            Text("#EXT-X-VERSION", "#a\u{1}b\n#EXT-X-VERSION"),
            M3u8Encoding,
        ),
        (Before(b"\xef\xbb\xbf"), M3u8Encoding),
        (Before(b"\xff\xfe"), M3u8Encoding),
        (Before(b"#EXT-X-INDEPENDENT-SEGMENTS\n"), M3u8Start),
        (
            Text("#EXT-X-VERSION", "#EXT-X-WHAT:1\n#EXT-X-VERSION"),
            M3u8TagUnknown,
        ),
        (
            Text("#EXT-X-VERSION", "# e\u{301}t\u{e9}\n#EXT-X-VERSION"),
            M3u8Nfc,
        ),
        (Cut(1), M3u8Line),
    ]
}

/// Tags of a whole media playlist.
pub(super) fn media() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXT-X-VERSION:6\n", ""), HlsVersion),
        (Text("VERSION:6", "VERSION:5"), HlsVersion),
        (Text("VERSION:6", "VERSION:1"), HlsVersion),
        (Text("#EXT-X-TARGETDURATION:6\n", ""), HlsTargetDuration),
        (
            Text("TARGETDURATION:6", "TARGETDURATION:5"),
            HlsTargetDuration,
        ),
        (
            Text("TARGETDURATION:6", "TARGETDURATION:7"),
            HlsTargetDurationLoose,
        ),
        (
            Text("TARGETDURATION:6", "TARGETDURATION:60"),
            HlsTargetDurationLoose,
        ),
        (Text("TARGETDURATION:6", "TARGETDURATION:6.0"), M3u8Tag),
        (Text("TARGETDURATION:6", "TARGETDURATION:-6"), M3u8Tag),
        (
            Text(
                "#EXT-X-TARGETDURATION:6\n",
                "#EXT-X-TARGETDURATION:6\n#EXT-X-TARGETDURATION:6\n",
            ),
            M3u8TagOnce,
        ),
        (Text("#EXT-X-MEDIA-SEQUENCE:1\n", ""), HlsMediaSequence),
        (
            Text("MEDIA-SEQUENCE:1", "MEDIA-SEQUENCE:2"),
            HlsMediaSequence,
        ),
        (Text("MEDIA-SEQUENCE:1", "MEDIA-SEQUENCE:one"), M3u8Tag),
        (
            Text("#EXT-X-ENDLIST", "#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-ENDLIST"),
            M3u8Tag,
        ),
        (Text("#EXT-X-PLAYLIST-TYPE:VOD\n", ""), HlsPlaylistType),
        (Text("TYPE:VOD", "TYPE:EVENT"), HlsPlaylistType),
        (Text("TYPE:VOD", "TYPE:vod"), M3u8Tag),
        (Text("#EXT-X-ENDLIST\n", ""), HlsEndlist),
        (
            Text("#EXT-X-ENDLIST\n", "#EXT-X-ENDLIST\n#EXT-X-ENDLIST\n"),
            M3u8TagOnce,
        ),
        (Text("#EXT-X-ENDLIST", "#EXT-X-ENDLIST:1"), M3u8Tag),
    ]
}

/// The tag that names the header.
fn maps() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXT-X-MAP:URI=\"init.mp4\"\n", ""), HlsMap),
        (Text("init.mp4", "other.mp4"), HlsUriExists),
        (Text("\"init.mp4\"", "init.mp4"), M3u8AttributeType),
        (Text("MAP:URI=\"init.mp4\"", "MAP:"), M3u8AttributeMissing),
        (Text("\"init.mp4\"", "\"init.mp4"), M3u8AttributeSyntax),
        (
            Text("\"init.mp4\"", "\"init.mp4\",URI=\"init.mp4\""),
            M3u8AttributeOnce,
        ),
        (
            Text("\"init.mp4\"", "\"init.mp4\",BYTERANGE=\"0-9\""),
            M3u8AttributeType,
        ),
        (
            Text("\"init.mp4\"", "\"init.mp4\",BYTERANGE=\"100@0\""),
            BoxSize,
        ),
        (Text("init.mp4", "/init.mp4"), HlsUri),
        (Text("init.mp4", "../../../init.mp4"), HlsUri),
        (Text("init.mp4", "https://example.com/init.mp4"), HlsUri),
        (Text("MAP:URI", "MAP:WHAT=1,URI"), M3u8AttributeUnknown),
    ]
}

/// Durations of segments.
fn durations() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXTINF:6.000000,\n", ""), M3u8Tag),
        (Text("#EXTINF:6.000000,", "#EXTINF:6.000000"), M3u8Tag),
        (Text("#EXTINF:6.000000", "#EXTINF:5.990000"), HlsExtinf),
        (Text("#EXTINF:6.000000", "#EXTINF:6.002000"), HlsExtinf),
        (Text("#EXTINF:6.000000", "#EXTINF:-6.000000"), M3u8Tag),
        (Text("#EXTINF:6.000000", "#EXTINF:6e0"), M3u8Tag),
        (
            Text("#EXTINF:6.000000", "#EXTINF:9.000000"),
            HlsTargetDuration,
        ),
        (Text("#EXTINF:2.000000", "#EXTINF:0.400000"), HlsLastSegment),
        (
            Text(
                "#EXTINF:6.000000,\n",
                "#EXTINF:6.000000,\n#EXTINF:6.000000,\n",
            ),
            M3u8Tag,
        ),
        (Text("seg_00002", "seg_00009"), HlsUriExists),
        (Text("seg_00002", "%zz_00002"), HlsUri),
        (Text("seg_00002", "seg 00002"), HlsUri),
    ]
}

/// A media playlist without a segment.
const EMPTY: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:1\n\
                     #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-ENDLIST\n";

/// A multivariant playlist that offers sound and no variant to hear it with.
const NO_VARIANT: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
                          #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio\",DEFAULT=YES,\
                          AUTOSELECT=YES,URI=\"audio/und_aac_2ch/playlist.m3u8\"\n";

/// A rendition of the name that the one of the set has.
const NAMESAKE: &str = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio\",LANGUAGE=\"und\",\
                        CHANNELS=\"2\",URI=\"audio/und_aac_2ch/playlist.m3u8\"\n\
                        #EXT-X-STREAM-INF";

/// Segments, and tags before them.
fn entries() -> Vec<(Change, Rule)> {
    vec![
        (
            Text("#EXT-X-ENDLIST", "#EXTINF:6.000000,\n#EXT-X-ENDLIST"),
            M3u8Tag,
        ),
        (
            Text(
                "#EXT-X-ENDLIST",
                "#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-ENDLIST",
            ),
            M3u8Kind,
        ),
        (
            Text("#EXT-X-ENDLIST", "#EXT-X-I-FRAMES-ONLY\n#EXT-X-ENDLIST"),
            HlsIFrames,
        ),
        (Text("#EXTINF", "#EXT-X-BYTERANGE:100\n#EXTINF"), M3u8Tag),
        (Text("#EXTINF", "#EXT-X-BYTERANGE:100@0\n#EXTINF"), BoxSize),
        (Text("#EXTINF", "#EXT-X-BYTERANGE:all\n#EXTINF"), M3u8Tag),
        (
            Text("#EXTINF", "#EXT-X-BYTERANGE:9000000@0\n#EXTINF"),
            HlsUriExists,
        ),
        (
            Text("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME:yesterday\n#EXTINF"),
            M3u8Tag,
        ),
        (Swap("seg_00001", "seg_00002"), CmafSequenceNumber),
        (Swap("seg_00002", "seg_00003"), HlsExtinf),
        (Text("seg_00002", "seg_00001"), HlsUriOnce),
        (
            Text("#EXTINF", "#EXT-X-KEY:METHOD=AES-128,URI=\"key\"\n#EXTINF"),
            NotJudged,
        ),
        (Write(EMPTY), HlsEmpty),
    ]
}

fn audio() -> Vec<(Change, Rule)> {
    vec![
        (Text("#EXT-X-ENDLIST\n", ""), HlsEndlist),
        (
            Text("TARGETDURATION:6", "TARGETDURATION:5"),
            HlsTargetDuration,
        ),
        (
            Text("MEDIA-SEQUENCE:1", "MEDIA-SEQUENCE:0"),
            HlsMediaSequence,
        ),
        (Text("#EXTINF:5.99", "#EXTINF:5.98"), HlsExtinf),
        (
            Text("init.mp4", "../../video/r360_h264/init.mp4"),
            HlsCodecs,
        ),
    ]
}

/// Tags of the multivariant playlist.
fn tags() -> Vec<(Change, Rule)> {
    vec![
        (Write(NO_VARIANT), HlsEmpty),
        (Text("#EXT-X-STREAM-INF", NAMESAKE), HlsName),
        (
            Text("#EXT-X-INDEPENDENT-SEGMENTS\n", ""),
            HlsIndependentSegments,
        ),
        (
            Text(
                "#EXT-X-INDEPENDENT-SEGMENTS",
                "#EXT-X-INDEPENDENT-SEGMENTS:YES",
            ),
            M3u8Tag,
        ),
        (Text("#EXT-X-MEDIA:", "#EXT-X-MEDIUM:"), HlsGroup),
        (Text("#EXT-X-STREAM-INF:", "#EXT-X-STREAM:"), M3u8Tag),
        (Text("video/r360_h264/playlist.m3u8\n", ""), M3u8Tag),
        (Text("video/r360", "video/r361"), HlsUriExists),
        (
            Text("video/r360_h264/playlist.m3u8", "master.m3u8"),
            M3u8Kind,
        ),
        (
            Text("video/r360_h264/playlist.m3u8", "video/r360_h264/init.mp4"),
            M3u8Encoding,
        ),
        (Text("video/r360_h264", "video/r240_h264"), HlsResolution),
        (Text("video/r240_h264", "/video/r240_h264"), HlsUri),
        (
            Everywhere("video/r240_h264", "video/r360_h264"),
            HlsVariantUnique,
        ),
        (
            Text("#EXT-X-STREAM-INF", "#EXT-X-ENDLIST\n#EXT-X-STREAM-INF"),
            M3u8Kind,
        ),
        (
            Text(
                "#EXT-X-STREAM-INF",
                "#EXT-X-TARGETDURATION:6\n#EXT-X-STREAM-INF",
            ),
            M3u8Kind,
        ),
        (
            Text(
                "#EXT-X-STREAM-INF",
                "#EXT-X-START:PRECISE=YES\n#EXT-X-STREAM-INF",
            ),
            M3u8AttributeMissing,
        ),
        (
            Text(
                "#EXT-X-STREAM-INF",
                "video/r360_h264/playlist.m3u8\n#EXT-X-STREAM-INF",
            ),
            M3u8Tag,
        ),
    ]
}

/// Attributes that are missing, twice, or of another type.
fn attributes() -> Vec<(Change, Rule)> {
    vec![
        (Text(":BANDWIDTH=", ":X-BANDWIDTH="), M3u8AttributeMissing),
        (Text("AVERAGE-BANDWIDTH=", "X-A="), HlsAverageBandwidth),
        (Text("CODECS=", "X-C="), HlsCodecs),
        (Text("RESOLUTION=", "X-R="), HlsResolution),
        (Text("FRAME-RATE=", "X-F="), HlsFrameRate),
        (Text("VIDEO-RANGE=", "X-V="), HlsVideoRange),
        (Text(",CLOSED-CAPTIONS=NONE", ""), HlsClosedCaptions),
        (Everywhere(",AUDIO=\"audio\"", ""), HlsGroup),
        (Text("TYPE=AUDIO,", ""), M3u8AttributeMissing),
        (Text("GROUP-ID=\"audio\",", ""), M3u8AttributeMissing),
        (Text(",NAME=\"Audio\"", ""), M3u8AttributeMissing),
        (Text("LANGUAGE=\"und\",", ""), HlsLanguage),
        (Text(",CHANNELS=\"2\"", ""), HlsChannels),
        (Text("DEFAULT=YES,", ""), HlsDefault),
        (
            Text("BANDWIDTH=", "BANDWIDTH=1,BANDWIDTH="),
            M3u8AttributeOnce,
        ),
        (
            Text("CODECS=\"", "CODECS=\"x\",CODECS=\""),
            M3u8AttributeOnce,
        ),
        (
            Text("DEFAULT=YES", "DEFAULT=YES,DEFAULT=YES"),
            M3u8AttributeOnce,
        ),
        (
            Text("FRAME-RATE=25.000", "FRAME-RATE=\"25.000\""),
            M3u8AttributeType,
        ),
        (Text("640x360", "\"640x360\""), M3u8AttributeType),
        (Text("640x360", "640X360"), M3u8AttributeType),
        (Text("DEFAULT=YES", "DEFAULT=\"YES\""), M3u8AttributeType),
        (Text("DEFAULT=YES", "DEFAULT=TRUE"), M3u8AttributeType),
        (Text("CHANNELS=\"2\"", "CHANNELS=2"), M3u8AttributeType),
        (Text("AUDIO=\"audio\"", "AUDIO=audio"), M3u8AttributeType),
        (
            Text("VIDEO-RANGE=SDR", "VIDEO-RANGE=\"SDR\""),
            M3u8AttributeType,
        ),
        (Text("TYPE=AUDIO", "TYPE=SOUND"), M3u8AttributeType),
        (Text("BANDWIDTH=", "BANDWIDTH=-"), M3u8AttributeType),
        (Text("BANDWIDTH=", "BANDWIDTH=1."), M3u8AttributeType),
        (
            Text("CLOSED-CAPTIONS=NONE", "CLOSED-CAPTIONS=NO"),
            M3u8AttributeType,
        ),
        (Text(",RESOLUTION", ", RESOLUTION"), M3u8AttributeSyntax),
        (Text(",RESOLUTION", ",,RESOLUTION"), M3u8AttributeSyntax),
        (Text(",RESOLUTION=", ",RESOLUTION ="), M3u8AttributeSyntax),
        (Text(",RESOLUTION", ";RESOLUTION"), M3u8AttributeSyntax),
        (
            Text("CLOSED-CAPTIONS=NONE", "CLOSED-CAPTIONS=NONE,"),
            M3u8AttributeSyntax,
        ),
        (Text("CODECS=", "codecs="), M3u8AttributeSyntax),
        (Text("CODECS=", "WHAT=1,CODECS="), M3u8AttributeUnknown),
    ]
}

/// Values that are not true.
fn values() -> Vec<(Change, Rule)> {
    vec![
        (Text(":BANDWIDTH=", ":BANDWIDTH=1"), HlsBandwidth),
        (
            Text("AVERAGE-BANDWIDTH=", "AVERAGE-BANDWIDTH=1"),
            HlsAverageBandwidth,
        ),
        (Text("avc1.", "avc3."), HlsCodecs),
        (Text("avc1.64", "avc1.4d"), HlsCodecs),
        (Text("avc1.6400", "avc1.6410"), HlsCodecs),
        (Text("avc1.64001e", "avc1.64001f"), HlsCodecs),
        (Text(",mp4a.40.2", ""), HlsCodecs),
        (Text("mp4a.40.2", "mp4a.40.5"), HlsCodecs),
        (Text("mp4a.40.2", "mp4a.40.2,ac-3"), HlsCodecs),
        (Text("640x360", "640x352"), HlsResolution),
        (Text("640x360", "360x640"), HlsResolution),
        (Text("25.000", "24.975"), HlsFrameRate),
        (Text("25.000", "30.000"), HlsFrameRate),
        (Text("SDR", "PQ"), HlsVideoRange),
        (Text("SDR", "HLG"), HlsVideoRange),
        (
            Text("CLOSED-CAPTIONS=NONE", "CLOSED-CAPTIONS=\"cc\""),
            HlsGroup,
        ),
        (Text("GROUP-ID=\"audio\"", "GROUP-ID=\"sound\""), HlsGroup),
        (Text(",AUDIO=\"audio\"", ",AUDIO=\"sound\""), HlsGroup),
        (Text("TYPE=AUDIO", "TYPE=VIDEO"), HlsGroup),
        (Text("DEFAULT=YES", "DEFAULT=NO"), HlsDefault),
        (Text("AUTOSELECT=YES", "AUTOSELECT=NO"), HlsDefault),
        (Text("CHANNELS=\"2\"", "CHANNELS=\"6\""), HlsChannels),
        (Text("LANGUAGE=\"und\"", "LANGUAGE=\"e\""), HlsLanguage),
        (Text("LANGUAGE=\"und\"", "LANGUAGE=\"en_US\""), HlsLanguage),
        (Text("LANGUAGE=\"und\"", "LANGUAGE=\"\""), HlsLanguage),
    ]
}

/// Files that are gone, or hold something else.
fn files() -> Vec<Mutant> {
    vec![
        ("360/playlist", Delete, HlsUriExists),
        ("audio/playlist", Delete, HlsUriExists),
        ("360/init", Delete, HlsUriExists),
        ("360/3", Delete, HlsUriExists),
        ("audio/1", Delete, HlsUriExists),
        ("360/playlist", Copy("master"), M3u8Kind),
        ("360/playlist", Copy("audio/playlist"), HlsUriExists),
        ("360/1", Copy("360/2"), CmafSequenceNumber),
        ("360/2", Copy("360/3"), HlsExtinf),
        ("360/2", Copy("240/2"), AvcInBand),
        ("360/2", Copy("audio/2"), CmafGap),
        ("360/init", Copy("240/init"), HlsResolution),
        ("360/init", Copy("audio/init"), HlsExtinf),
        ("audio/init", Copy("360/init"), HlsExtinf),
        ("360/2", Copy("360/init"), BoxMissing),
        ("360/init", Copy("360/2"), BoxMissing),
        ("360/2", Cut(1), BoxSize),
        ("360/2", Cut(2000), BoxSize),
        ("360/init", Cut(1), BoxSize),
        ("360/init", Cut(300), BoxSize),
    ]
}
