//! Valid sets that others made, with the exact findings that they are to have. Rules that are too
//! strict are seen here, as rules that are too lax are seen by the mutants.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use telecine_activities::child::Limits;
use telecine_activities::lint::{Directory, Profile, Report, Rule, Severity, Terms, lint};
use telecine_activities::media::check::{CheckSet, Spec};

use crate::attempt::Bench;
use crate::clips::Clips;

/// The directory of sources and sets, and what lints them.
struct Foreign {
    clips: Clips,
    bench: Bench,
}

/// Four seconds of pictures out of order, cut every second, and of sound.
const PICTURES: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=4";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=4";
const H264: &str = "-c:v libx264 -preset veryfast -bf 2 -g 25 -keyint_min 25 -sc_threshold 0 \
                    -pix_fmt yuv420p";
const HLS: &str = "-f hls -hls_time 1 -hls_playlist_type vod";
const FMP4: &str = "-hls_segment_type fmp4";

/// What every set of ffmpeg lacks that is not told to be more.
const PLAIN: &[&str] = &["cmaf-brand init.mp4", "hls-independent-segments main.m3u8"];

impl Foreign {
    /// With the source `av.mp4`.
    fn new() -> Self {
        let clips = Clips::new();
        let arguments = format!("{PICTURES} {SOUND} {H264} -c:a aac -ac 2");
        clips.ffmpeg(&arguments, "av.mp4");
        let bench = Bench::new();
        Self { clips, bench }
    }

    /// A set in a directory of its own, by arguments of ffmpeg.
    fn set(&self, name: &str, arguments: &str) -> PathBuf {
        let root = self.clips.path(name);
        std::fs::create_dir(&root).unwrap();
        self.clips.ffmpeg(arguments, &format!("{name}/main.m3u8"));
        root
    }

    /// Four segments of the pictures alone.
    fn pictures(&self, name: &str, more: &str) -> PathBuf {
        let arguments = format!("-i av.mp4 -map 0:v -c copy {HLS} {FMP4} {more}");
        self.set(name, &arguments)
    }

    async fn lint(&self, root: &Path, entry: &str) -> Report {
        let spec = Spec {
            root: root.to_owned(),
            entries: vec![entry.to_owned()],
            profile: Profile::Standards,
            recorded: None,
            decode: true,
        };
        let attempt = self.bench.attempt(None);
        let ran = self
            .bench
            .host
            .run::<CheckSet>(&attempt.ctx, spec, Limits::SMALL);
        ran.await.unwrap()
    }

    /// Lints a set, which must have exactly these warnings and no error.
    async fn has(&self, root: &Path, entry: &str, expected: &[&str]) -> Report {
        let report = self.lint(root, entry).await;
        let found = report.findings.iter();
        let found = found.map(|found| match found.severity {
            Severity::Error => format!("error: {found}"),
            Severity::Warning => format!("{} {}", found.rule.id(), found.file),
        });
        let mut found: Vec<String> = found.collect();
        found.sort();
        found.dedup();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", root.display());
        assert_eq!(report.error_count, 0);
        report
    }
}

/// Every sample of pictures was decoded.
fn assert_decoded(report: &Report, samples: u64) {
    assert_eq!((report.samples, report.decoded), (samples, samples));
}

#[tokio::test]
async fn fragmented_mp4_is_good() {
    let foreign = Foreign::new();
    let plain = foreign.pictures("plain", "");
    assert_decoded(&foreign.has(&plain, "main.m3u8", PLAIN).await, 100);
    let single = foreign.pictures("single", "-hls_flags single_file");
    let lacks = ["cmaf-brand main.m4s", "hls-independent-segments main.m3u8"];
    assert_decoded(&foreign.has(&single, "main.m3u8", &lacks).await, 100);
    let flags = "-hls_flags program_date_time+independent_segments";
    let dated = foreign.pictures("dated", flags);
    let lacks = ["cmaf-brand init.mp4"];
    assert_decoded(&foreign.has(&dated, "main.m3u8", &lacks).await, 100);
}

#[tokio::test]
async fn cmaf_is_good_in_whole_segments_and_in_chunks() {
    let foreign = Foreign::new();
    let lacks = [
        "cmaf-brand main0.m4s",
        "cmaf-brand main1.m4s",
        "cmaf-brand main2.m4s",
        "cmaf-brand main3.m4s",
        "hls-independent-segments main.m3u8",
    ];
    let options = "-hls_segment_options movflags=+frag_custom+dash+delay_moov+cmaf";
    let whole = foreign.pictures("whole", options);
    assert_decoded(&foreign.has(&whole, "main.m3u8", &lacks).await, 100);

    // Five pictures are a chunk, of which the last is shown behind the first two of the next.
    let chunks = foreign.clips.path("chunks");
    std::fs::create_dir(&chunks).unwrap();
    let options = "-frag_type duration -frag_duration 0.2 -format_options movflags=+cmaf";
    let dash = "-f dash -hls_playlist 1 -seg_duration 1";
    let arguments = format!("-i av.mp4 -map 0:v -c copy {dash} {options}");
    foreign.clips.ffmpeg(&arguments, "chunks/set.mpd");
    let lacks = [
        "cmaf-brand chunk-stream0-00001.m4s",
        "cmaf-brand chunk-stream0-00002.m4s",
        "cmaf-brand chunk-stream0-00003.m4s",
        "cmaf-brand chunk-stream0-00004.m4s",
        "hls-average-bandwidth master.m3u8",
        "hls-closed-captions master.m3u8",
        "hls-frame-rate master.m3u8",
        "hls-independent-segments master.m3u8",
        "hls-playlist-type media_0.m3u8",
        "hls-video-range master.m3u8",
    ];
    assert_decoded(&foreign.has(&chunks, "master.m3u8", &lacks).await, 100);
}

#[tokio::test]
async fn what_is_not_judged_is_said_and_nothing_else() {
    let foreign = Foreign::new();
    let streams = foreign.set("ts", &format!("-i av.mp4 -c copy {HLS}"));
    let lacks = ["hls-independent-segments main.m3u8", "not-judged main.m3u8"];
    foreign.has(&streams, "main.m3u8", &lacks).await;
    let muxed = foreign.set("muxed", &format!("-i av.mp4 -c copy {HLS} {FMP4}"));
    let lacks = [PLAIN, &["not-judged init.mp4"]].concat();
    foreign.has(&muxed, "main.m3u8", &lacks).await;
    // What ffmpeg says of the last segment is longer than its samples.
    let long = "hls-extinf main.m3u8";
    for (codec, more) in [
        ("ac3", None),
        ("eac3", None),
        ("libopus", None),
        ("flac", Some(long)),
        ("alac", None),
    ] {
        let arguments = format!("{SOUND} -t 3.9 -c:a {codec} -ac 2 -strict -2 {HLS} {FMP4}");
        let root = foreign.set(codec, &arguments);
        let lacks: Vec<&str> = lacks.iter().copied().chain(more).collect();
        foreign.has(&root, "main.m3u8", &lacks).await;
    }
}

#[tokio::test]
async fn subtitles_need_no_header() {
    let foreign = Foreign::new();
    let text = b"WEBVTT\n\n00:00.000 --> 00:03.000\nhello\n";
    foreign.clips.write(text, "text.vtt");
    let streams = "-var_stream_map v:0,a:0,s:0,sgroup:subs -master_pl_name master.m3u8";
    let root = foreign.clips.path("subtitles");
    std::fs::create_dir(&root).unwrap();
    let inputs = "-i av.mp4 -i text.vtt -map 0:v -map 0:a -map 1:s -c copy -c:s webvtt";
    let arguments = format!("{inputs} {HLS} {streams}");
    foreign.clips.ffmpeg(&arguments, "subtitles/%v.m3u8");
    let lacks = [
        "hls-average-bandwidth master.m3u8",
        "hls-closed-captions master.m3u8",
        "hls-codecs master.m3u8",
        "hls-independent-segments master.m3u8",
        "hls-playlist-type 0_vtt.m3u8",
        "not-judged 0.m3u8",
        "not-judged 0_vtt.m3u8",
    ];
    foreign.has(&root, "master.m3u8", &lacks).await;
}

#[tokio::test]
async fn sound_in_a_group_of_its_own_is_good() {
    let foreign = Foreign::new();
    let root = foreign.clips.path("group");
    std::fs::create_dir(&root).unwrap();
    // Its playlists have EXT-X-PROGRAM-DATE-TIME with +0000, and its fragments a picture each.
    let arguments = "-i av.mp4 -map 0:v -map 0:a -c copy -f dash -hls_playlist 1 -seg_duration 1 \
                     -frag_type every_frame";
    foreign.clips.ffmpeg(arguments, "group/set.mpd");
    let lacks = [
        "cmaf-brand init-stream0.m4s",
        "cmaf-brand init-stream1.m4s",
        "hls-average-bandwidth master.m3u8",
        "hls-channels master.m3u8",
        "hls-closed-captions master.m3u8",
        "hls-extinf media_1.m3u8",
        "hls-frame-rate master.m3u8",
        "hls-independent-segments master.m3u8",
        "hls-language master.m3u8",
        "hls-last-segment media_1.m3u8",
        "hls-playlist-type media_0.m3u8",
        "hls-playlist-type media_1.m3u8",
        "hls-video-range master.m3u8",
        "set-audio-boundary media_1.m3u8",
    ];
    let report = foreign.has(&root, "master.m3u8", &lacks).await;
    // The edit list takes the packet away that primes the decoder.
    assert_eq!((report.samples, report.decoded), (289, 288));
}

#[tokio::test]
async fn gaps_and_splices_are_good() {
    let foreign = Foreign::new();
    let root = foreign.pictures("gap", "");
    std::fs::remove_file(root.join("main1.m4s")).unwrap();
    let playlist = std::fs::read_to_string(root.join("main.m3u8")).unwrap();
    let with_gap = playlist.replace("main1.m4s", "#EXT-X-GAP\nmain1.m4s");
    std::fs::write(root.join("main.m3u8"), with_gap).unwrap();
    assert_eq!(foreign.has(&root, "main.m3u8", PLAIN).await.samples, 75);

    // Another rate, another timescale, another delay of reordering, and then the first again.
    let ad = "-f lavfi -i testsrc2=s=160x90:r=24:d=2 -c:v libx264 -preset veryfast -bf 0 -g 24 \
              -keyint_min 24 -sc_threshold 0 -pix_fmt yuv420p";
    foreign.set("ad", &format!("{ad} {HLS} {FMP4}"));
    let root = foreign.pictures("splice", "");
    for file in ["init.mp4", "main0.m4s", "main1.m4s"] {
        let from = foreign.clips.path("ad").join(file);
        std::fs::copy(from, root.join(format!("ad-{file}"))).unwrap();
    }
    let map = |file| format!("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"{file}\"\n");
    let segment = |file| format!("#EXTINF:1.000000,\n{file}\n");
    let there = [
        map("ad-init.mp4"),
        segment("ad-main0.m4s"),
        segment("ad-main1.m4s"),
    ]
    .concat();
    let back = [map("init.mp4"), segment("main2.m4s")].concat();
    let spliced = playlist.replace(&segment("main2.m4s"), &(there + &back));
    std::fs::write(root.join("main.m3u8"), spliced).unwrap();
    let lacks = [PLAIN, &["cmaf-brand ad-init.mp4"]].concat();
    assert_eq!(foreign.has(&root, "main.m3u8", &lacks).await.samples, 148);

    let appended = foreign.pictures("appended", "-t 2");
    let more = "-f hls -hls_time 1 -hls_segment_type fmp4 -hls_flags append_list+discont_start";
    let arguments = format!("-i av.mp4 -map 0:v -c copy -t 2 {more}");
    foreign.clips.ffmpeg(&arguments, "appended/main.m3u8");
    let report = foreign.lint(&appended, "main.m3u8").await;
    assert_eq!(report.errors().collect::<Vec<_>>(), Vec::<&_>::new());
    assert_eq!(report.samples, report.decoded);
}

/// Replication of the spectrum, told in either way. The encoder makes the core alone, to which
/// decoders add nothing: they give two samples for one all the same.
#[tokio::test]
async fn high_efficiency_aac_is_good() {
    const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=24000:duration=4";
    const CORE: [u8; 5] = [0x13, 0x10, 0x56, 0xe5, 0x00];
    let foreign = Foreign::new();
    for (name, config) in [
        ("core", CORE),
        ("compatible", [0x13, 0x10, 0x56, 0xe5, 0x98]),
        ("explicit", [0x2b, 0x11, 0x88, 0x00, 0x00]),
    ] {
        let root = foreign.set(name, &format!("{SOUND} -c:a aac -ac 2 {HLS} {FMP4}"));
        let mut init = std::fs::read(root.join("init.mp4")).unwrap();
        let at = init.windows(5).position(|bytes| bytes == CORE).unwrap();
        init[at..at + 5].copy_from_slice(&config);
        std::fs::write(root.join("init.mp4"), init).unwrap();
        let lacks = [
            PLAIN,
            &["hls-extinf main.m3u8", "hls-last-segment main.m3u8"],
        ]
        .concat();
        let report = foreign.has(&root, "main.m3u8", &lacks).await;
        assert_decoded(&report, 95);
    }
}

#[tokio::test]
async fn another_packager_is_good() {
    let foreign = Foreign::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shaka");
    let lacks = [
        "cmaf-brand audio.mp4",
        "cmaf-brand video.mp4",
        "cmaf-tfdt audio.mp4",
        "cmaf-tfdt video.mp4",
        "hls-default master.m3u8",
        "hls-extinf audio.m3u8",
        "hls-target-duration-loose video.m3u8",
        "hls-video-range master.m3u8",
        "not-judged iframes.m3u8",
        "not-judged text.m3u8",
    ];
    let report = foreign.has(&root, "master.m3u8", &lacks).await;
    assert_eq!((report.samples, report.decoded), (289, 288));
}

/// The other way round: what is too strict for others is asked of our own.
#[tokio::test]
async fn the_house_asks_for_more() {
    let foreign = Foreign::new();
    let root = foreign.pictures("plain", "");
    let directory = Directory::open(&root).unwrap();
    let terms = Terms {
        profile: Profile::House,
        recorded: None,
    };
    let linted = lint(&directory, &["main.m3u8".to_owned()], terms, &mut |_| ()).unwrap();
    let rules: BTreeSet<_> = linted.report.errors().map(|found| found.rule).collect();
    let asked = [
        Rule::HlsIndependentSegments,
        Rule::CmafBrand,
        Rule::CmafEditList,
    ];
    assert_eq!(rules, BTreeSet::from(asked));
}

/// A thousand segments with a box that nobody knows, and then a broken one.
#[tokio::test]
async fn warnings_never_hide_an_error() {
    let foreign = Foreign::new();
    let root = foreign.pictures("many", "-t 1");
    let playlist = std::fs::read_to_string(root.join("main.m3u8")).unwrap();
    let segment = std::fs::read(root.join("main0.m4s")).unwrap();
    let (head, _) = playlist.split_once("#EXTINF").unwrap();
    let mut text = head.to_owned();
    for number in 0..1100 {
        text += &format!("#EXT-X-DISCONTINUITY\n#EXTINF:1.000000,\n{number}.m4s\n");
        let foreign_box = b"\0\0\0\x08what";
        let bytes = [&segment[..], foreign_box].concat();
        std::fs::write(root.join(format!("{number}.m4s")), bytes).unwrap();
    }
    text += "#EXT-X-ENDLIST\n";
    std::fs::write(root.join("1099.m4s"), &segment[..segment.len() - 9]).unwrap();
    std::fs::write(root.join("main.m3u8"), text).unwrap();
    let directory = Directory::open(&root).unwrap();
    let linted = lint(
        &directory,
        &["main.m3u8".to_owned()],
        Terms::default(),
        &mut |_| (),
    )
    .unwrap();
    let report = linted.report;
    let errors: Vec<_> = report.errors().map(|found| found.rule).collect();
    assert!(errors.contains(&Rule::BoxSize), "{errors:?}");
    assert!(report.warning_count >= 1099 && report.error_count >= 1);
    let listed = report.findings.len() as u64;
    assert!(report.more > 0, "{listed} are listed");
    assert_eq!(
        listed + report.more,
        report.error_count + report.warning_count
    );
}
