//! `encode-video`.

use std::path::Path;
use std::process::Command;

use telecine_activities::media::plan::SEGMENT_NS;
use telecine_activities::media::probe::{Probe, ProbeSpec};
use telecine_activities::tool::run_in_process;
use telecine_testkit::program;

use super::clips::{make, remake};
use super::run::{Told, facts, rung, spec_of, split, video, video_error, whole};
use super::seen::{brightness, decoded_frames, flash_s, frame_times_ns, packets, pictures, stream};

/// 14 s with a keyframe every 10 s: chunk borders fall far from keyframes.
const LONG: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=14 -pix_fmt yuv420p \
     -c:v libx264 -preset veryfast -g 250 -keyint_min 250 -sc_threshold 0 -bf 2";

/// Ticks of the test renditions in a second.
const TIMESCALE: i64 = 30_000;

/// Every frame is there, no time is missing, and every segment begins with a keyframe.
fn assert_seamless(told: &Told, name: &str, frames: usize) {
    let file = told.file(name);
    assert_eq!(decoded_frames(&file), frames);
    let packets = packets(&file);
    assert_eq!(packets.len(), frames);
    for pair in packets.windows(2) {
        assert_eq!(pair[0].dts + pair[0].duration, pair[1].dts, "{pair:?}");
    }
    let starts: Vec<_> = told.timeline(name);
    for (_, start_ticks, _) in &starts {
        let start_s = *start_ticks as f64 / TIMESCALE as f64;
        let first = packets
            .iter()
            .find(|p| (p.pts_s - start_s).abs() < 1e-4)
            .unwrap();
        assert!(first.key, "no keyframe at {start_s}");
    }
    for pair in starts.windows(2) {
        assert_eq!(pair[0].0 + 1, pair[1].0);
        assert_eq!(pair[0].1 + pair[0].2, pair[1].1);
    }
}

#[test]
fn a_flash_at_one_second_is_seen_at_one_second() {
    let clip = make(
        "flash.mp4",
        "-f lavfi -i color=black:size=320x180:rate=25:duration=3 -vf \
         drawbox=c=white:t=fill:enable='between(t,0.999,1.199)' -pix_fmt yuv420p -c:v libx264 -bf 2",
    );
    let (_, told) = video(whole(&clip, facts(25, 1), vec![rung(320, 180)]));
    assert!((flash_s(&told.file("r180_h264")) - 1.0).abs() < 1e-3);
}

#[test]
fn chunks_join_to_the_timeline_of_a_single_run() {
    let clip = make("long.mp4", LONG);
    let spec = whole(&clip, facts(25, 1), vec![rung(320, 180), rung(160, 90)]);
    let (output, single) = video(spec.clone());
    assert_eq!(output.frames_shown, 350);
    assert_eq!(output.last_frame_ns, Some(13_960_000_000));
    let mut joined = Told::default();
    for chunk in split(&spec, 1) {
        joined.join(video(chunk).1);
    }
    assert_eq!(single.tracks, joined.tracks, "headers differ");
    for name in ["r180_h264", "r90_h264"] {
        assert_eq!(single.timeline(name), joined.timeline(name));
        assert_eq!(single.timeline(name), single.timeline("r180_h264"));
        assert_seamless(&joined, name, 350);
    }
}

#[test]
fn durable_segments_are_not_encoded_again() {
    let clip = make("long.mp4", LONG);
    let mut rungs = vec![rung(320, 180), rung(160, 90), rung(80, 44)];
    rungs[0].from_segment = 2;
    rungs[1].from_segment = 3;
    rungs[2].from_segment = 4;
    let (output, told) = video(whole(&clip, facts(25, 1), rungs));
    let numbers = |name: &str| told.timeline(name).iter().map(|s| s.0).collect::<Vec<_>>();
    assert_eq!(numbers("r180_h264"), [2, 3]);
    assert_eq!(numbers("r90_h264"), [3]);
    assert_eq!(
        output.tracks.len(),
        2,
        "a rendition that is done was started"
    );
    assert_eq!(output.first_frame_ns, Some(6_000_000_000));
    assert_seamless(&told, "r180_h264", 200);
    assert_seamless(&told, "r90_h264", 50);
}

#[test]
fn nothing_is_decoded_when_every_segment_is_durable() {
    let clip = make("long.mp4", LONG);
    let mut done = rung(320, 180);
    done.from_segment = 4;
    let mut spec = whole(&clip, facts(25, 1), vec![done]);
    spec.source = "gone.mp4".into();
    assert_eq!(video(spec).0.frames_decoded, 0);
}

#[test]
fn fractional_rates_keep_every_frame() {
    let clip = make(
        "ntsc.mkv",
        "-f lavfi -i testsrc2=size=160x90:rate=30000/1001:duration=7 -c:v libx264 -preset ultrafast",
    );
    let (_, told) = video(whole(&clip, facts(30_000, 1001), vec![rung(160, 90)]));
    assert_seamless(&told, "r90_h264", 210);
    let file = told.file("r90_h264");
    assert_eq!(stream(&file)["avg_frame_rate"], "30000/1001");
}

#[test]
fn uneven_frames_keep_their_times() {
    let clip = make(
        "vfr.mp4",
        "-f lavfi -i testsrc2=size=160x90:rate=25:duration=8 -vf \
         select='not(between(mod(n,20),5,11))*not(between(n,140,170))' -fps_mode vfr \
         -c:v libx264 -preset veryfast -bf 2",
    );
    let mut facts = facts(16, 1);
    facts.variable_frame_rate = true;
    let spec = whole(&clip, facts, vec![rung(160, 90)]);
    let want = frame_times_ns(&clip.path);
    assert!(
        spec.chunk.starts_ns[1] > 6_000_000_000,
        "the clip has a frame at 6 s"
    );
    let (_, told) = video(spec);
    let mut got: Vec<f64> = packets(&told.file("r90_h264"))
        .iter()
        .map(|p| p.pts_s)
        .collect();
    got.sort_by(f64::total_cmp);
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        assert!((got - *want as f64 / 1e9).abs() < 1e-4, "{got} for {want}");
    }
}

#[test]
fn a_video_that_begins_late_is_held_from_zero() {
    let clip = make(
        "late.mkv",
        "-itsoffset 0.52 -f lavfi -i testsrc2=size=160x90:rate=25:duration=2 \
         -f lavfi -i sine=duration=2.52 -c:v libx264 -preset veryfast -c:a flac",
    );
    let (output, told) = video(whole(&clip, facts(25, 1), vec![rung(160, 90)]));
    assert_eq!(told.timeline("r90_h264"), [(1, 0, 75_600)]);
    assert_eq!(output.frames_shown, 50);
    let file = told.file("r90_h264");
    let times: Vec<f64> = brightness(&file).iter().map(|frame| frame.0).collect();
    assert_eq!(times[..2], [0.0, 0.56]);
}

#[test]
fn the_clock_of_a_transport_stream_is_not_shown() {
    let clip = make(
        "clip.ts",
        "-f lavfi -i testsrc2=size=160x90:rate=25:duration=2 -c:v libx264 -preset ultrafast",
    );
    let source = clip.path.clone();
    let mut facts = facts(25, 1);
    facts.origin_ns = video_origin_ns(&source);
    assert!(facts.origin_ns > 0);
    let mut spec = whole(&clip, facts, vec![rung(160, 90)]);
    spec.chunk.end_ns = 2_000_000_000;
    let (output, told) = video(spec);
    assert_eq!(output.last_frame_ns, Some(1_960_000_000));
    assert_seamless(&told, "r90_h264", 50);
}

/// Where the probe finds that the video of a source begins.
fn video_origin_ns(source: &Path) -> u64 {
    let spec = ProbeSpec {
        source: source.to_owned(),
        segment_ns: SEGMENT_NS,
    };
    let report = run_in_process::<Probe>(spec).0.unwrap();
    report.video.unwrap().origin_ns
}

#[test]
fn rotated_pictures_are_turned_upright() {
    let flat = make(
        "flat.mp4",
        "-f lavfi -i color=black:size=160x90:rate=25:duration=1 -vf \
         drawbox=w=80:h=90:c=white:t=fill -pix_fmt yuv420p -c:v libx264",
    );
    let mut facts = facts(25, 1);
    facts.rotation = 90;
    let (_, told) = video(whole(&flat, facts, vec![rung(90, 160)]));
    let file = told.file("r90_h264");
    let found = stream(&file);
    assert_eq!(
        (&found["width"], &found["height"]),
        (&90.into(), &160.into())
    );
    // White on the left is white on top after a quarter turn clockwise.
    let top = remake_luma(&told, "crop=90:60:0:0");
    let bottom = remake_luma(&told, "crop=90:60:0:100");
    assert!(top > 200.0 && bottom < 50.0, "{top} {bottom}");
}

/// Mean luma of the first frame of the only rendition behind a filter.
fn remake_luma(told: &Told, filter: &str) -> f64 {
    let (name, segments) = told.segments.iter().next().unwrap();
    let file = told.file(name);
    let path = segments[0].path.with_file_name("part.mkv");
    let made = program::output(
        Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-i"])
            .arg(file)
            .args(["-vf", filter, "-frames:v", "1", "-c:v", "ffv1"])
            .arg(&path),
    );
    assert!(made.status.success());
    brightness(&path)[0].1
}

#[test]
fn interlaced_pictures_are_delivered_progressive() {
    let clip = make(
        "interlaced.mp4",
        "-f lavfi -i testsrc2=size=320x180:rate=50:duration=2 -vf interlace=scan=tff -pix_fmt yuv420p \
         -c:v libx264 -preset veryfast -flags +ildct+ilme",
    );
    let mut facts = facts(25, 1);
    facts.interlaced = true;
    let (_, told) = video(whole(&clip, facts, vec![rung(320, 180)]));
    let file = told.file("r180_h264");
    assert_eq!(stream(&file)["field_order"], "progressive");
    assert_eq!(decoded_frames(&file), 50);
}

/// Soft stripes that move so little from field to field that lines of the fields next to one fill its gaps:
/// in the wrong order, those are of another frame. Measured: a picture is 0.33 times as far from its own as
/// from the nearest other one, and 1.2 times in the wrong order.
#[test]
fn each_frame_is_made_of_the_fields_next_to_each_other() {
    const CLEARLY: f64 = 0.8;
    const H264: &str = "-c:v libx264 -preset veryfast -flags +ildct+ilme -x264opts";
    const MPEG2: &str = "-c:v mpeg2video -q:v 2 -flags +ildct+ilme -top";
    let stripes = make(
        "stripes.mkv",
        "-f lavfi -i color=black:size=320x180:rate=50:duration=1,format=gray,geq=lum='128+80*sin((X-2*N)/10)' \
         -pix_fmt yuv420p -c:v ffv1",
    );
    let (source, size) = (stripes.path.display(), (320, 180));
    let moving = pictures(&stripes.path, size);
    // The top field is shown, which comes first or second.
    for (name, order, codec, shown) in [
        ("tff.mp4", "tff", format!("{H264} tff=1"), 0),
        ("bff.mp4", "bff", format!("{H264} bff=1"), 1),
        ("tff.mkv", "tff", format!("{MPEG2} 1"), 0),
        ("bff.mkv", "bff", format!("{MPEG2} 0"), 1),
    ] {
        let fields = format!("-i {source} -vf interlace=scan={order}:lowpass=off {codec}");
        let clip = make(name, &fields);
        let mut facts = facts(25, 1);
        facts.interlaced = true;
        let (_, told) = video(whole(&clip, facts, vec![rung(320, 180)]));
        let made = pictures(&told.file("r180_h264"), size);
        assert_eq!(made.len(), 25, "{name}");
        // The first and the last have no neighbours on one side.
        for (frame, picture) in made.iter().enumerate().take(23).skip(2) {
            let apart = |other: usize| difference(picture, &moving[other]);
            let own = 2 * frame + shown;
            let next = apart(own - 1).min(apart(own + 1));
            let ratio = apart(own) / next;
            assert!(ratio < CLEARLY, "{name}, frame {frame}: {ratio:.2}");
        }
    }
}

/// How far samples of two pictures are apart on average.
fn difference(one: &[u8], other: &[u8]) -> f64 {
    let pairs = one.iter().zip(other);
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

#[test]
fn odd_sizes_and_square_pixels() {
    let clip = make(
        "odd.mkv",
        "-f lavfi -i testsrc2=size=161x121:rate=25:duration=1 -vf setsar=2/1 -pix_fmt yuv444p -c:v ffv1",
    );
    let (_, told) = video(whole(&clip, facts(25, 1), vec![rung(320, 120)]));
    let found = stream(&told.file("r120_h264"));
    assert_eq!(
        (&found["width"], &found["height"]),
        (&320.into(), &120.into())
    );
    assert_eq!(found["sample_aspect_ratio"], "1:1");
    assert_eq!(found["pix_fmt"], "yuv420p");
}

#[test]
fn full_range_is_converted_and_tagged() {
    let clip = make(
        "full.mp4",
        "-f lavfi -i color=white:size=160x90:rate=25:duration=1 -vf scale=out_range=full \
         -pix_fmt yuvj420p -color_range pc -c:v libx264",
    );
    let mut facts = facts(25, 1);
    facts.colour.range = Some("full".to_owned());
    let (_, told) = video(whole(&clip, facts, vec![rung(160, 90)]));
    let file = told.file("r90_h264");
    let found = stream(&file);
    assert_eq!(found["color_range"], "tv");
    assert_eq!(found["color_space"], "smpte170m");
    assert_eq!(found["color_primaries"], "smpte170m");
    let luma = brightness(&file)[5].1;
    assert!((luma - 235.0).abs() < 2.0, "{luma}");
}

#[test]
fn fast_sources_are_thinned_evenly() {
    let clip = make(
        "fast.mp4",
        "-f lavfi -i testsrc2=size=160x90:rate=120:duration=7 -c:v libx264 -preset ultrafast",
    );
    let spec = whole(&clip, facts(120, 1), vec![rung(160, 90)]);
    let (_, told) = video(spec.clone());
    assert_seamless(&told, "r90_h264", 420);
    let mut joined = Told::default();
    for chunk in split(&spec, 1) {
        joined.join(video(chunk).1);
    }
    assert_seamless(&joined, "r90_h264", 420);
    assert_eq!(
        told.tracks["r90_h264"]
            .video
            .as_ref()
            .unwrap()
            .frame_rate
            .den,
        2
    );
}

#[test]
fn a_truncated_file_is_refused() {
    let clip = make("long.mp4", LONG);
    let spec = whole(&clip, facts(25, 1), vec![rung(160, 90)]);
    let faststart = remake(&clip, "faststart.mp4", "-c copy -movflags +faststart");
    let bytes = std::fs::read(&faststart).unwrap();
    std::fs::write(&clip.path, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let [head, tail] = split(&spec, 2);
    assert_eq!(video_error(spec).code, "source_truncated");
    assert_eq!(video_error(tail).code, "source_truncated");
    let error = video_error(head);
    assert_eq!(error.code, "source_truncated");
    assert!(
        error.message.contains("the data ends at"),
        "{}",
        error.message
    );
}

#[test]
fn sources_without_a_usable_picture_say_so() {
    let sound = make("sound.mp4", "-f lavfi -i sine=duration=1 -c:a aac");
    let clip = make(
        "clip.mp4",
        "-f lavfi -i testsrc2=duration=1:size=160x90 -c:v libx264",
    );
    let spec = whole(&clip, facts(25, 1), vec![rung(160, 90)]);
    let code = |source: &Path| {
        let mut spec = spec.clone();
        spec.source = source.to_owned();
        video_error(spec).code
    };
    assert_eq!(code(&sound.path), "no_video");
    let refused = [
        ("empty.mp4", "", "empty_source"),
        ("text.mp4", "just some text\n", "not_media"),
    ];
    for (name, bytes, expected) in refused {
        let path = clip.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(code(&path), expected, "{name}");
    }
    assert_eq!(code(&clip.dir.path().join("missing.mp4")), "file_missing");
}

#[test]
fn a_playlist_is_not_opened() {
    let clip = make(
        "clip.mp4",
        "-f lavfi -i testsrc2=duration=1:size=160x90 -c:v libx264",
    );
    let playlist = clip.dir.path().join("disguised.mp4");
    std::fs::write(&playlist, "#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n").unwrap();
    let mut spec = spec_of(&clip.path, facts(25, 1), vec![rung(160, 90)]);
    spec.source = playlist;
    assert_eq!(video_error(spec).code, "playlist_refused");
}
