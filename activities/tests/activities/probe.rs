//! What the probe says of sources, and what it refuses.

use std::path::Path;
use std::time::{Duration, Instant};

use telecine_activities::media::probe::{Probe, ProbeSpec};
use telecine_activities::media::report::{Ratio, Report, Size, VideoTrack};
use telecine_activities::tool::{Emitter, Tool, ToolError};
use telecine_engine::activity::ErrorClass;

use crate::clips::Clips;

const SECOND_NS: u64 = 1_000_000_000;

fn probe(source: &Path) -> Result<Report, ToolError> {
    let spec = ProbeSpec {
        source: source.to_owned(),
        segment_ns: 6 * SECOND_NS,
    };
    let started = Instant::now();
    let result = Probe::run(spec, &Emitter::new(|_| {}));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{source:?} took {took:?}");
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
fn a_faststart_file_that_is_cut_short_is_refused_with_the_second_where_it_ends() {
    let clips = Clips::new();
    let whole = clips.h264(10, "25", "-movflags +faststart -g 25", "whole.mp4");
    let (code, message) = refusal(&clips.cut(&whole, 60, "cut.mp4"));
    assert_eq!(code, "source_truncated");
    assert!(message.contains("of 10.00"), "{message}");
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
