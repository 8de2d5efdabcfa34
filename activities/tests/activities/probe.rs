//! What the probe says of sources, and what it refuses.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use telecine_activities::media::probe::{Probe, ProbeSpec};
use telecine_activities::media::report::{Ratio, Report, Size, VideoTrack};
use telecine_activities::tool::{Emitter, Tool, ToolError};
use telecine_engine::activity::ErrorClass;

use crate::clips::Clips;

const SECOND_NS: u64 = 1_000_000_000;

/// Longer than a probe takes on any machine: 50 ms, measured.
const NEVER: Duration = Duration::from_secs(30);

fn probe(source: &Path) -> Result<Report, ToolError> {
    let spec = ProbeSpec {
        source: source.to_owned(),
        segment_ns: 6 * SECOND_NS,
    };
    let started = Instant::now();
    let result = Probe::run(spec, &Emitter::new(|_| {}));
    let took = started.elapsed();
    assert!(took < NEVER, "{source:?} took {took:?}");
    result
}

fn video(source: &Path) -> VideoTrack {
    probe(source).unwrap().video.unwrap()
}

/// The code and message of a refusal, which is the source's fault and told in lower case.
fn refusal(source: &Path) -> (String, String) {
    let error = probe(source).unwrap_err();
    assert_eq!(error.class, ErrorClass::Input, "{error:?}");
    assert!(error.message.starts_with(char::is_lowercase), "{error:?}");
    (error.code, error.message)
}

#[test]
fn a_plain_clip_is_described_in_full() {
    let clips = Clips::new();
    let sine = "-f lavfi -i sine=r=48000:d=13 -c:a aac -ac 2 -metadata:s:a:0 language=deu";
    let source = clips.h264(13, "30000/1001", &format!("{sine} -g 60"), "a.mp4");
    let report = probe(&source).unwrap();
    assert_eq!((&*report.container, report.chunkable), ("mp4", true));
    assert_eq!(report.size_bytes, source.metadata().unwrap().len());
    let video = report.video.unwrap();
    assert_eq!((&*video.codec, video.frames), ("h264", 390));
    assert_eq!(
        (video.frame_rate, video.variable_frame_rate),
        (
            Ratio {
                num: 30_000,
                den: 1001
            },
            false
        )
    );
    // Frame 180 is the first at or after 6 s, and a keyframe: every 60th is one.
    let frame = |n: u64| n * SECOND_NS * 1001 / 30_000;
    let near = |a: u64, b: u64| a.abs_diff(b) <= 1000;
    assert!(near(video.cuts_ns[0], frame(180)) && near(video.cuts_ns[1], frame(360)));
    assert_eq!(video.seeks_ns, video.cuts_ns);
    assert!(near(video.end_ns, frame(390)), "{video:?}");
    assert!(near(video.longest_gop_ns, frame(60)));
    let audio = &report.audio[0];
    assert_eq!(
        (&*audio.codec, audio.channels, audio.sample_rate),
        ("aac", 2, 48_000)
    );
    assert_eq!((&*audio.language, audio.start_ns), ("deu", 0));
}

#[test]
fn a_file_that_is_cut_short_is_refused_with_the_second_where_its_data_ends() {
    let clips = Clips::new();
    let faststart = clips.h264(10, "25", "-movflags +faststart -g 25", "whole.mp4");
    let whole = faststart.display();
    let remux =
        |options: &str, name: &str| clips.ffmpeg(&format!("-i {whole} -c copy {options}"), name);
    // Where a header says how long the whole is, the message says how much is missing.
    for (whole, told) in [
        (faststart.clone(), "of 10.00"),
        (remux("", "whole.mkv"), "of 10."),
        (remux("", "whole.flv"), "of 10."),
        (
            remux("-movflags frag_keyframe+empty_moov", "f.mp4"),
            "second 6.0",
        ),
        (remux("", "whole.ts"), "at second"),
        (
            clips.ffmpeg(&format!("-i {whole} -c:v mpeg4"), "whole.avi"),
            "at second",
        ),
    ] {
        assert!(probe(&whole).is_ok(), "{whole:?}");
        let name = format!("cut_{}", whole.file_name().unwrap().to_string_lossy());
        let (code, message) = refusal(&clips.cut(&whole, 63, &name));
        assert_eq!(code, "source_truncated", "{name}");
        assert!(message.contains(told), "{name}: {message}");
    }
}

/// Twenty seconds of sound, as ffmpeg writes it; VBR has to have something to vary with.
const SOUNDS: [(&str, &str); 11] = [
    ("cbr.mp3", "-c:a libmp3lame -b:a 128k"),
    (
        "vbr.mp3",
        "-af volume=0.5+0.4*sin(t):eval=frame -c:a libmp3lame -q:a 4",
    ),
    ("headless.mp3", "-c:a libmp3lame -write_xing 0"),
    ("mono_22k.mp3", "-c:a libmp3lame -ac 1 -ar 22050"),
    ("tone.mp2", "-c:a mp2 -f mp2"),
    ("tone.aac", "-c:a aac"),
    ("tone.flac", "-c:a flac"),
    ("vorbis.ogg", "-c:a libvorbis"),
    ("opus.ogg", "-c:a libopus"),
    ("flac.ogg", "-c:a flac"),
    ("faststart.m4a", "-c:a aac -movflags +faststart"),
];

fn sound(clips: &Clips, (name, codec): (&str, &str)) -> PathBuf {
    clips.ffmpeg(&format!("-f lavfi -i sine=d=20 {codec}"), name)
}

/// Those of frames alone, without a word of how many there are.
const BARE: [&str; 3] = ["headless.mp3", "tone.mp2", "tone.aac"];

/// Files that end early, by more and less than a frame. Half of a file would be half of its frames of equal
/// size, and whole for all that one can see.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = bytes.len();
    let left = [
        all * 22 / 100,
        all * 51 / 100,
        all * 95 / 100,
        all * 995 / 1000,
        all - 3,
    ];
    left.into_iter().map(|left| &bytes[..left])
}

#[test]
fn sound_that_is_cut_anywhere_is_refused_if_it_promised_more_and_told_if_not() {
    let clips = Clips::new();
    for row in SOUNDS {
        let whole = sound(&clips, row);
        let report = probe(&whole).unwrap();
        assert!(report.warnings.is_empty(), "{whole:?}: {report:?}");
        if row.0 == "tone.flac" {
            continue; // It promises a time, not bytes.
        }
        let bytes = std::fs::read(&whole).unwrap();
        for left in cuts(&bytes) {
            let cut = clips.write(left, &format!("cut_{}", row.0));
            let which = format!("{} of {}: {cut:?}", left.len(), bytes.len());
            if BARE.contains(&row.0) {
                assert!(told(&probe(&cut).unwrap(), "end_unmarked"), "{which}");
            } else {
                let (code, message) = refusal(&cut);
                assert_eq!(code, "source_truncated", "{which}");
                assert!(message.contains("at second"), "{message}");
            }
        }
    }
}

#[test]
fn a_flac_is_refused_if_seconds_of_it_are_missing_and_told_if_less_is() {
    let clips = Clips::new();
    let whole = sound(&clips, SOUNDS[6]);
    for percent in [20, 50, 90] {
        let (code, message) = refusal(&clips.cut(&whole, percent, "cut.flac"));
        assert_eq!(code, "source_truncated", "{percent} %");
        assert!(message.contains(" of 20.00"), "{message}");
    }
    let report = probe(&clips.cut(&whole, 97, "cut.flac")).unwrap();
    assert!(told(&report, "end_unmarked"), "{report:?}");
}

#[test]
fn a_whole_flac_is_taken_whatever_is_wrong_with_it() {
    let clips = Clips::new();
    let whole = std::fs::read(sound(&clips, SOUNDS[6])).unwrap();
    let cover = [&ape_tag(3_000_000)[..], &vec![0xa5; 3_000_000]].concat();
    let cover = [&cover[..], &ape_tag(3_000_000)].concat();
    let id3v2 = [b"ID3\x04\0\0\0\0\x02\0", &[0; 256][..]].concat();
    let lyrics = b"LYRICSBEGININD0000200000022LYRICS200";
    let junk: Vec<u8> = (0..2_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8)
        .collect();
    let behind = |trailer: &[u8]| [&whole[..], trailer].concat();
    // The sizes of the smallest and the largest frame.
    let stating = |sizes: [u8; 6]| [&whole[..12], &sizes, &whole[18..]].concat();
    let mut flipped = whole.clone();
    let in_last_frame = whole.len() - 60;
    flipped[in_last_frame] ^= 4;
    for (name, bytes) in [
        ("cover", behind(&cover)),
        ("id3v2", behind(&id3v2)),
        ("lyrics", behind(lyrics)),
        ("junk", behind(&junk)),
        ("flipped", flipped),
        ("unknown sizes", stating([0; 6])),
        ("far too small", stating([0, 0, 1, 0, 0, 32])),
        ("too small", stating([0, 0, 1, 0, 4, 176])),
    ] {
        let report = probe(&clips.write(&bytes, "whole.flac")).unwrap();
        assert!(!told(&report, "end_unmarked"), "{name}: {report:?}");
    }
}

#[test]
fn the_end_of_a_flac_is_no_flac_that_is_cut() {
    let clips = Clips::new();
    let whole = sound(&clips, SOUNDS[6]);
    // The length that it states is that of the whole, and so are the numbers of its frames.
    let end = clips.ffmpeg(
        &format!("-ss 10 -i {} -c copy", whole.display()),
        "end.flac",
    );
    let report = probe(&end).unwrap();
    assert!(!told(&report, "end_unmarked"), "{report:?}");
    assert_eq!(
        refusal(&clips.cut(&end, 50, "cut.flac")).0,
        "source_truncated"
    );
}

/// What [`errors.md`](../../../docs/reference/errors.md) says of recordings that are to end where they do.
#[test]
fn a_cut_recording_becomes_whole_by_ffmpeg() {
    let clips = Clips::new();
    for (row, made) in [
        (SOUNDS[0], "-c copy made.mp3"),
        (SOUNDS[7], "-c copy made.ogg"),
        (SOUNDS[10], "-c copy made.m4a"),
        (SOUNDS[6], "-c:a flac made.flac"),
        (SOUNDS[6], "-c copy made.mka"),
    ] {
        let cut = clips.cut(&sound(&clips, row), 51, &format!("cut_{}", row.0));
        assert_eq!(refusal(&cut).0, "source_truncated", "{row:?}");
        let (how, name) = made.rsplit_once(' ').unwrap();
        let made = clips.ffmpeg(&format!("-i {} {how}", cut.display()), name);
        let report = probe(&made).unwrap();
        assert!(report.warnings.is_empty(), "{made:?}: {report:?}");
    }
    let cut = clips.cut(&sound(&clips, SOUNDS[6]), 51, "cut.flac");
    let copied = clips.ffmpeg(&format!("-i {} -c copy", cut.display()), "copied.flac");
    assert_eq!(refusal(&copied).0, "source_truncated");
}

#[test]
fn half_an_mp3_is_refused_with_how_much_is_missing() {
    let clips = Clips::new();
    let whole = sound(&clips, SOUNDS[0]);
    let (_, message) = refusal(&clips.cut(&whole, 50, "half.mp3"));
    assert!(message.contains(" of 20.0"), "{message}");
    // Nothing of it ends within a frame: half of the frames, and the header in the first of them.
    let bytes = std::fs::read(&whole).unwrap();
    let starts: Vec<usize> = (0..bytes.len() - 1)
        .filter(|at| bytes[*at..].starts_with(&[0xff, 0xfb]))
        .collect();
    let between = &bytes[..starts[starts.len() / 2]];
    let (code, message) = refusal(&clips.write(between, "between.mp3"));
    assert_eq!(code, "source_truncated");
    assert!(message.contains(" of 20.0"), "{message}");
}

#[test]
fn tags_behind_the_sound_and_files_behind_each_other_are_no_damage() {
    let clips = Clips::new();
    let ape = ape_tag(0);
    let id3v1 = [&b"TAG"[..], &[b'x'; 125]].concat();
    for row in &SOUNDS[..7] {
        let bytes = std::fs::read(sound(&clips, *row)).unwrap();
        let name = format!("tagged_{}", row.0);
        let tagged = clips.write(&[&bytes[..], &ape, &id3v1].concat(), &name);
        assert!(probe(&tagged).is_ok(), "{tagged:?}");
    }
    for row in [SOUNDS[0], SOUNDS[2], SOUNDS[5]] {
        let bytes = std::fs::read(sound(&clips, row)).unwrap();
        let twice = clips.write(&bytes.repeat(2), &format!("twice_{}", row.0));
        assert!(probe(&twice).is_ok(), "{twice:?}");
    }
}

#[test]
fn streams_of_an_ogg_behind_each_other_are_whole_if_the_last_one_is() {
    let clips = Clips::new();
    let [first, second] = ["first.ogg", "second.ogg"]
        .map(|name| std::fs::read(sound(&clips, (name, "-c:a libvorbis"))).unwrap());
    let chained = [first, second].concat();
    let report = probe(&clips.write(&chained, "chained.ogg")).unwrap();
    assert!(!told(&report, "end_unmarked"), "{report:?}");
    let cut = clips.write(&chained[..chained.len() - 3], "cut.ogg");
    assert_eq!(refusal(&cut).0, "source_truncated");
}

#[test]
fn an_ogg_that_does_not_mark_its_end_is_taken_and_told() {
    let clips = Clips::new();
    for row in &SOUNDS[7..10] {
        let mut bytes = std::fs::read(sound(&clips, *row)).unwrap();
        let pages: Vec<usize> = (0..bytes.len())
            .filter(|at| bytes[*at..].starts_with(b"OggS\0"))
            .collect();
        let between = clips.write(&bytes[..pages[pages.len() / 2]], "between.ogg");
        assert!(told(&probe(&between).unwrap(), "end_unmarked"), "{row:?}");
        // As Android's recorder leaves it. Nobody compares the checksum of the page.
        bytes[pages[pages.len() - 1] + 5] = 0;
        let unmarked = clips.write(&bytes, "unmarked.ogg");
        assert!(told(&probe(&unmarked).unwrap(), "end_unmarked"), "{row:?}");
    }
}

/// The header or footer of an APEv2 tag with so many bytes of items.
fn ape_tag(bytes: u32) -> Vec<u8> {
    let sizes = [2000, bytes + 32, 1, 0].map(u32::to_le_bytes);
    [b"APETAGEX", sizes.as_flattened(), &[0; 8]].concat()
}

fn told(report: &Report, code: &str) -> bool {
    report.warnings.iter().any(|said| said.starts_with(code))
}

#[test]
fn what_is_not_a_whole_media_file_is_refused_by_name() {
    let clips = Clips::new();
    let whole = clips.h264(2, "25", "", "whole.mp4");
    let list = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n";
    for (source, expected) in [
        (clips.cut(&whole, 60, "no_index.mp4"), "malformed_source"),
        (clips.write(b"", "empty.mp4"), "empty_source"),
        (clips.write(&[0; 9999], "zeros.mp4"), "not_media"),
        (clips.write(b"a letter\n", "text.mp4"), "not_media"),
        (clips.write(list, "list.mp4"), "playlist_refused"),
    ] {
        assert_eq!(refusal(&source).0, expected, "{source:?}");
    }
}

#[test]
fn a_turned_video_is_shown_upright() {
    let clips = Clips::new();
    let lying = clips.h264(1, "25", "", "lying.mp4");
    let lying = lying.display();
    // ffmpeg 5 writes the angle counter-clockwise.
    for (written, clockwise) in [(90, 270), (180, 180), (270, 90)] {
        let turned = clips.ffmpeg(
            &format!("-i {lying} -c copy -metadata:s:v:0 rotate={written}"),
            "turned.mp4",
        );
        let video = video(&turned);
        assert_eq!((video.rotation, video.mirrored), (clockwise, false));
        let size = |width, height| Size { width, height };
        assert_eq!(video.stored, size(320, 180));
        let upright = if clockwise == 180 {
            size(320, 180)
        } else {
            size(180, 320)
        };
        assert_eq!(video.display, upright);
    }
}

#[test]
fn square_pixels_are_computed_from_the_pixel_aspect() {
    let clips = Clips::new();
    let video = video(&clips.h264(1, "25", "-vf setsar=16/11", "anamorphic.mp4"));
    assert_eq!(video.pixel_aspect, Ratio { num: 16, den: 11 });
    let (width, height) = (465, 180);
    assert_eq!(video.display, Size { width, height });
}

#[test]
fn uneven_frames_are_a_variable_rate() {
    let clips = Clips::new();
    // Every third frame for five seconds, then every frame: 42 + 124 in 10 s.
    let vary = "-vf select='not(mod(n,3))+gt(n,125)' -vsync vfr";
    let video = video(&clips.h264(10, "25", vary, "vary.mp4"));
    assert!(video.variable_frame_rate);
    assert_eq!(
        (video.frames, video.frame_rate),
        (166, Ratio { num: 83, den: 5 })
    );
}

#[test]
fn a_late_start_in_matroska_neither_shows_nor_bends_the_timeline() {
    let clips = Clips::new();
    let sine = "-f lavfi -i sine=r=48000:d=7 -c:a aac";
    let report = probe(&clips.h264(7, "30000/1001", sine, "a.mkv")).unwrap();
    assert!(report.chunkable);
    let video = report.video.unwrap();
    // The priming of AAC, 1024 samples, makes ffmpeg start the video later.
    // It begins with the picture, 21 ms of the run-up are cut.
    assert_eq!(video.start_ns, 0);
    assert_eq!(video.origin_ns, 21_000_000);
    assert!(!video.variable_frame_rate);
    let (num, den) = (30_000, 1001);
    assert_eq!(video.frame_rate, Ratio { num, den });
}

#[test]
fn an_mpeg_stream_begins_with_its_first_picture_or_sound() {
    let clips = Clips::new();
    let sound = "-f lavfi -i sine=d=3 -c:a aac";
    let source = clips.h264(3, "25", sound, "clip.ts");
    let report = probe(&source).unwrap();
    // It has no index: whoever seeks in it may land elsewhere, so it is encoded in one chunk.
    assert_eq!((&*report.container, report.chunkable), ("mpegts", false));
    let (video, audio) = (report.video.unwrap(), &report.audio[0]);
    assert_eq!(video.start_ns.min(audio.start_ns), 0);
    assert!(video.origin_ns > 0 && video.origin_ns == audio.origin_ns);
    // The two begin within the priming of AAC of each other.
    assert!(video.start_ns.max(audio.start_ns) < 30_000_000);
    assert!(
        report.duration_ns.abs_diff(3_000_000_000) < 60_000_000,
        "{}",
        report.duration_ns
    );
}

#[test]
fn interlaced_video_is_found_in_the_pictures_themselves() {
    let clips = Clips::new();
    let fields = "-flags +ilme+ildct -x264-params tff=1";
    for name in ["fields.mp4", "fields.ts"] {
        let video = video(&clips.h264(2, "25", fields, name));
        assert!(video.interlaced, "{name}");
        let expected = (50, Ratio { num: 25, den: 1 });
        assert_eq!((video.frames, video.frame_rate), expected, "{name}");
    }
    assert!(!video(&clips.h264(2, "25", "", "frames.mp4")).interlaced);
}

#[test]
fn sound_without_pictures_is_no_error() {
    let clips = Clips::new();
    for (codec, name) in [
        ("aac", "a.m4a"),
        ("libmp3lame", "a.mp3"),
        ("pcm_s16le", "a.wav"),
        ("flac", "a.flac"),
        ("libvorbis", "a.ogg"),
        ("aac", "a.aac"),
    ] {
        let input = format!("-f lavfi -i sine=r=48000:d=3 -ac 2 -c:a {codec}");
        let report = probe(&clips.ffmpeg(&input, name)).unwrap();
        assert_eq!((report.video, report.audio.len()), (None, 1), "{name}");
        let audio = &report.audio[0];
        assert_eq!((audio.channels, audio.sample_rate), (2, 48_000), "{name}");
        let off = audio.end_ns.abs_diff(3 * SECOND_NS);
        assert!(off < SECOND_NS / 10, "{name} ends {off} ns off");
    }
}

#[test]
fn a_cover_picture_is_not_a_video() {
    let clips = Clips::new();
    let art = clips.ffmpeg("-f lavfi -i testsrc2=s=300x300:d=1 -frames:v 1", "art.jpg");
    let video = clips.h264(1, "25", "", "video.mkv");
    let (art, video) = (art.display(), video.display());
    let inputs = "-f lavfi -i sine=d=1 -i";
    let song = clips.ffmpeg(
        &format!("{inputs} {art} -map 0 -map 1 -c:v copy -disposition:v attached_pic"),
        "song.mp3",
    );
    assert_eq!(probe(&song).unwrap().video, None);
    let film = clips.ffmpeg(
        &format!("-i {art} -i {video} -map 0 -map 1 -c copy"),
        "film.mkv",
    );
    assert_eq!(probe(&film).unwrap().video.unwrap().codec, "h264");
}

#[test]
fn one_frame_is_a_video() {
    let clips = Clips::new();
    for name in ["one.mp4", "one.mkv"] {
        let report = probe(&clips.h264(1, "25", "-frames:v 1", name)).unwrap();
        assert!(report.audio.is_empty());
        let video = report.video.unwrap();
        assert_eq!((video.frames, video.end_ns), (1, SECOND_NS / 25), "{name}");
        assert!(video.cuts_ns.is_empty());
    }
}

#[test]
fn high_dynamic_range_is_told_and_ten_bits_alone_are_none() {
    let clips = Clips::new();
    let ten_bits = "-f lavfi -i testsrc2=s=320x180:d=1 -pix_fmt yuv420p10le -c:v libvpx-vp9 \
                    -deadline realtime -cpu-used 8";
    let pq = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    let hdr = probe(&clips.ffmpeg(&format!("{ten_bits} {pq}"), "hdr.webm")).unwrap();
    let warned = (hdr.warnings.iter()).any(|text| text.starts_with("high_dynamic_range: "));
    assert!(warned, "{:?}", hdr.warnings);
    assert_eq!(hdr.video.unwrap().hdr.as_deref(), Some("hdr10"));
    let video = video(&clips.ffmpeg(ten_bits, "ten.webm"));
    assert_eq!((video.bit_depth, &*video.chroma), (10, "4:2:0"));
    assert_eq!(video.hdr, None);
}

/// A frame of HEVC in PQ, with further words for x265.
fn pq(clips: &Clips, more: &str, name: &str) -> PathBuf {
    let said = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc";
    clips.ffmpeg(
        &format!(
            "-f lavfi -i testsrc2=s=320x180:d=0.04 -pix_fmt yuv420p10le -c:v libx265 -x265-params \
             {said}{more}"
        ),
        name,
    )
}

#[test]
fn the_brightest_that_a_source_says_is_told() {
    let clips = Clips::new();
    let display =
        ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)";
    let peak = |more: &str, name: &str| video(&pq(&clips, more, name)).colour.peak_nits;
    assert_eq!(peak("", "unsaid.mp4"), None);
    let standard = "-c:v libx265 -x265-params \
                    log-level=error:master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1):max-cll=600,200";
    let standard = clips.ffmpeg(
        &format!("-f lavfi -i testsrc2=d=1 {standard}"),
        "standard.mp4",
    );
    assert_eq!(
        video(&standard).colour.peak_nits,
        None,
        "it is standard range"
    );
    assert_eq!(peak(display, "display.mp4"), Some(4000));
    assert_eq!(
        peak(&format!("{display}:max-cll=600,200"), "pixel.mp4"),
        Some(600)
    );
}

#[test]
fn dolby_vision_is_read_where_its_base_layer_is_something_else_too() {
    let clips = Clips::new();
    let plain = std::fs::read(pq(&clips, "", "plain.mp4")).unwrap();
    // Profile and compatibility: 8 with HDR10, and 5.
    let source = clips.write(&dolby_vision(&plain, 8, 1), "profile_8.mp4");
    assert_eq!(video(&source).hdr.as_deref(), Some("dolby_vision"));
    let source = clips.write(&dolby_vision(&plain, 7, 0), "profile_7.mp4");
    assert_eq!(video(&source).hdr.as_deref(), Some("dolby_vision"));
    let unsaid = std::fs::read(clips.h264(1, "25", "", "unsaid_curve.mp4")).unwrap();
    let source = video(&clips.write(&dolby_vision(&unsaid, 8, 4), "profile_8_4.mp4"));
    assert_eq!(source.hdr.as_deref(), Some("dolby_vision"));
    assert_eq!(source.colour.transfer.as_deref(), Some("arib-std-b67"));
    let source = video(&clips.write(&dolby_vision(&unsaid, 8, 2), "profile_8_2.mp4"));
    assert_eq!(source.hdr, None);
    let (code, message) = refusal(&clips.write(&dolby_vision(&plain, 5, 0), "profile_5.mp4"));
    assert_eq!(code, "hdr_unsupported");
    assert!(message.contains("profile 5"), "{message}");
}

/// Puts the configuration of Dolby Vision in place of the bit rates, which are as long as its beginning.
fn dolby_vision(bytes: &[u8], profile: u8, compatibility: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(4).position(|kind| kind == b"btrt").unwrap();
    bytes[at..at + 4].copy_from_slice(b"dvvC");
    let record = [1, 0, profile << 1, 0, compatibility << 4];
    bytes[at + 4..at + 9].copy_from_slice(&record);
    bytes
}

#[test]
fn an_encrypted_source_is_refused() {
    let clips = Clips::new();
    let cenc = "-encryption_scheme cenc-aes-ctr -encryption_key \
                76a6c65c5ea762046bd749a2e632ccbb -encryption_kid a7e61c373e219033c21091fa607bf3b8";
    let source = clips.h264(1, "25", cenc, "encrypted.mp4");
    assert_eq!(refusal(&source).0, "encrypted_source");
}

#[test]
fn a_scrambled_transport_stream_is_refused() {
    let clips = Clips::new();
    let mut bytes = std::fs::read(clips.h264(1, "25", "", "clear.ts")).unwrap();
    for packet in bytes.chunks_exact_mut(188) {
        if u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]) == 0x100 {
            packet[3] |= 0x80;
        }
    }
    assert_eq!(refusal(&clips.write(&bytes, "s.ts")).0, "encrypted_source");
}

#[test]
fn a_codec_that_nothing_decodes_is_named() {
    let clips = Clips::new();
    let known = std::fs::read(clips.h264(1, "25", "", "known.mp4")).unwrap();
    let source = clips.write(&replaced(&known, b"avc1", b"xyz1"), "unknown.mp4");
    let (code, message) = refusal(&source);
    assert_eq!(code, "codec_unsupported");
    assert!(message.contains("xyz1"), "{message}");
}

fn replaced(bytes: &[u8], from: &[u8; 4], to: &[u8; 4]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| &bytes[*at..at + 4] == from)
        .collect();
    for at in places {
        bytes[at..at + 4].copy_from_slice(to);
    }
    bytes
}

#[test]
fn every_language_is_reported() {
    let clips = Clips::new();
    let sines = "-f lavfi -i sine=d=2 -f lavfi -i sine=d=2 -map 0 -map 1 -map 2 -c:a aac \
                 -metadata:s:a:0 language=eng -metadata:s:a:1 language=jpn \
                 -disposition:a:0 0 -disposition:a:1 default";
    for name in ["languages.mp4", "languages.mkv"] {
        let report = probe(&clips.h264(2, "25", sines, name)).unwrap();
        let tracks: Vec<(u32, &str, bool)> = (report.audio.iter())
            .map(|track| (track.index, &*track.language, track.default))
            .collect();
        assert_eq!(tracks, [(0, "eng", false), (1, "jpn", true)], "{name}");
        assert!(report.warnings.iter().any(|w| w.contains("eng, jpn")));
    }
}

#[test]
fn a_clip_that_was_trimmed_without_encoding_keeps_its_sound_to_the_end() {
    let clips = Clips::new();
    let sine = "-f lavfi -i sine=r=48000:d=10 -c:a aac -g 50";
    let whole = clips.h264(10, "25", sine, "whole.mp4");
    let trim = format!("-ss 3.3 -i {} -c copy", whole.display());
    let report = probe(&clips.ffmpeg(&trim, "trimmed.mp4")).unwrap();
    let video = report.video.unwrap();
    assert_eq!((video.start_ns, video.end_ns), (0, 6_700_000_000));
    assert!(!video.variable_frame_rate);
    assert_eq!(report.audio[0].end_ns, 6_700_000_000);
}

#[test]
fn full_range_survives_a_container_that_cannot_say_it() {
    let clips = Clips::new();
    // The colour box of QuickTime has no field for the range; the stream has one.
    let full = "-vf scale=out_range=full -color_range pc -color_primaries bt709 -color_trc bt709 \
                -colorspace bt709 -movflags write_colr";
    let video = video(&clips.h264(1, "25", full, "full.mov"));
    assert_eq!(video.colour.range.as_deref(), Some("full"));
    assert_eq!(video.colour.matrix.as_deref(), Some("bt709"));
}
