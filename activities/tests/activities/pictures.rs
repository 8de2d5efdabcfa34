//! Covers and previews: the right moment, upright, in square pixels.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use telecine_activities::media::cover::{Cover, CoverMade, CoverSpec};
use telecine_activities::media::footage::Footage;
use telecine_activities::media::preview::{Preview, PreviewFormat, PreviewMade, PreviewSpec};
use telecine_activities::media::probe::{Probe, ProbeSpec};
use telecine_activities::media::report::{Report, Size};
use telecine_activities::tool::{Emitter, Message, Tool, ToolError};
use telecine_testkit::program;

use crate::clips::Clips;

const SECOND_NS: u64 = 1_000_000_000;

fn probed(source: &Path) -> Report {
    let spec = ProbeSpec {
        source: source.to_owned(),
        segment_ns: 6 * SECOND_NS,
    };
    Probe::run(spec, &Emitter::new(|_| {})).unwrap()
}

/// Runs a tool; returns its result and its warnings.
pub(crate) fn run<T: Tool<Event = ()>>(
    spec: T::Spec,
) -> (Result<T::Output, ToolError>, Vec<String>) {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let emit = Emitter::new(move |message| {
        if let Message::Warning(warning) = message {
            heard.lock().unwrap().push(warning);
        }
    });
    let result = T::run(spec, &emit);
    let warnings = warnings.lock().unwrap().clone();
    (result, warnings)
}

pub(crate) fn footage(source: &Path) -> Footage {
    let report = probed(source);
    Footage {
        source: source.to_owned(),
        video: report.video.unwrap(),
        exact_seeks: report.chunkable,
    }
}

fn cover_spec(source: &Path, at_ns: Option<u64>) -> CoverSpec {
    CoverSpec {
        footage: footage(source),
        at_ns,
        max_edge: 1280,
        quality: 90,
        out: source.with_extension("jpg"),
    }
}

pub(crate) fn cover(source: &Path, at_ns: Option<u64>) -> (CoverMade, PathBuf) {
    let spec = cover_spec(source, at_ns);
    let out = spec.out.clone();
    (run::<Cover>(spec).0.unwrap(), out)
}

fn preview_spec(source: &Path, start_ns: u64, duration_ns: u64) -> PreviewSpec {
    PreviewSpec {
        footage: footage(source),
        start_ns,
        duration_ns,
        fps: 5,
        width: 320,
        format: PreviewFormat::Webp,
        max_bytes: 2 << 20,
        out: source.with_extension("webp"),
    }
}

fn preview(spec: PreviewSpec) -> PreviewMade {
    run::<Preview>(spec).0.unwrap()
}

/// Pixels of a picture or an animation as ffmpeg sees them, scaled to a size.
pub(crate) fn pixels(picture: &Path, size: &str) -> Vec<[u8; 3]> {
    let output = program::output(
        Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(picture)
            .args([
                "-vsync",
                "0",
                "-vf",
                &format!("format=rgb24,scale={size}:flags=area"),
            ])
            .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]),
    );
    assert!(output.status.success(), "{output:?}");
    output.stdout.as_chunks::<3>().0.to_vec()
}

/// Ten seconds at 10 fps; frame n has the luma 20 + 2 n.
pub(crate) fn ramp(clips: &Clips, name: &str) -> PathBuf {
    let source = "-f lavfi -i nullsrc=s=64x64:r=10:d=10,geq=lum=20+2*N:cb=128:cr=128";
    let codec = "-c:v libx264 -preset ultrafast -crf 4 -bf 2 -g 30 -pix_fmt yuv420p";
    clips.ffmpeg(&format!("{source} {codec}"), name)
}

/// The frame of the ramp that a grey value shows.
pub(crate) fn frame_of(pixel: [u8; 3]) -> f64 {
    let luma = f64::from(pixel[1]) * 219.0 / 255.0 + 16.0;
    (luma - 20.0) / 2.0
}

/// Red, lime, blue and white quarters, row by row.
fn quarters(clips: &Clips, more: &str, name: &str) -> PathBuf {
    let colour = |name: &str| format!("-f lavfi -i color={name}:s=160x90:r=25:d=1");
    let inputs = ["red", "lime", "blue", "white"].map(colour).join(" ");
    let grid = "-filter_complex xstack=inputs=4:layout=0_0|160_0|0_90|160_90";
    let codec = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    clips.ffmpeg(&format!("{inputs} {grid} {more} {codec}"), name)
}

const RED: char = 'r';
const LIME: char = 'l';
const BLUE: char = 'b';
const WHITE: char = 'w';

/// The colours of the quarters of a picture, row by row.
fn quarters_of(picture: &Path) -> Vec<char> {
    let name = |[r, g, b]: [u8; 3]| match (r > 128, g > 128, b > 128) {
        (true, false, false) => RED,
        (false, true, false) => LIME,
        (false, false, true) => BLUE,
        (true, true, true) => WHITE,
        _ => '?',
    };
    pixels(picture, "2:2").into_iter().map(name).collect()
}

#[test]
fn a_cover_shows_the_picture_of_its_time() {
    let clips = Clips::new();
    let source = ramp(&clips, "ramp.mp4");
    for (at_ms, frame) in [(0, 0.0), (5000, 50.0), (5099, 50.0), (9950, 99.0)] {
        let (made, out) = cover(&source, Some(at_ms * 1_000_000));
        assert_eq!(made.at_ns, at_ms / 100 * 100_000_000);
        let shown = frame_of(pixels(&out, "1:1")[0]);
        // The conversion to RGB is up to two grey levels, one frame, too dark.
        assert!((shown - frame).abs() < 1.5, "{shown} at {at_ms} ms");
    }
}

#[test]
fn a_cover_beyond_the_end_shows_the_last_picture_and_says_so() {
    let clips = Clips::new();
    let source = ramp(&clips, "ramp.mkv");
    let spec = cover_spec(&source, Some(60 * SECOND_NS));
    let (made, warnings) = run::<Cover>(spec);
    assert_eq!(made.unwrap().at_ns, 9_900_000_000);
    assert!(warnings[0].contains("beyond the end"), "{warnings:?}");
}

#[test]
fn pictures_are_upright() {
    let clips = Clips::new();
    let lying = quarters(&clips, "", "lying.mp4");
    let (made, out) = cover(&lying, None);
    assert_eq!(quarters_of(&out), [RED, LIME, BLUE, WHITE]);
    let (width, height) = (320, 180);
    assert_eq!(made.size, Size { width, height });
    // ffmpeg 5 writes the angle counter-clockwise: 270 turns clockwise by a quarter.
    let turn = format!("-i {} -c copy -metadata:s:v:0 rotate=270", lying.display());
    let turned = clips.ffmpeg(&turn, "turned.mp4");
    let (made, out) = cover(&turned, None);
    assert_eq!(quarters_of(&out), [BLUE, RED, WHITE, LIME]);
    let (width, height) = (180, 320);
    assert_eq!(made.size, Size { width, height });
}

#[test]
fn pictures_are_mirrored_when_the_file_says_so() {
    let clips = Clips::new();
    let mut bytes = std::fs::read(quarters(&clips, "", "plain.mp4")).unwrap();
    // The matrix of the track header (version 0) begins 40 bytes into its body: a = -1.0.
    let header = bytes.windows(4).position(|b| b == b"tkhd").unwrap() + 4;
    bytes[header + 40..header + 44].copy_from_slice(&[0xff, 0xff, 0, 0]);
    let mirrored = clips.write(&bytes, "mirrored.mp4");
    let (_, out) = cover(&mirrored, None);
    assert_eq!(quarters_of(&out), [LIME, RED, WHITE, BLUE]);
}

#[test]
fn pictures_have_square_pixels_and_the_size_asked_for() {
    let clips = Clips::new();
    let source = clips.h264(1, "25", "-vf setsar=2/1", "wide.mp4");
    let size = |width, height| Size { width, height };
    assert_eq!(cover(&source, None).0.size, size(640, 180));
    let spec = CoverSpec {
        max_edge: 320,
        ..cover_spec(&source, None)
    };
    assert_eq!(run::<Cover>(spec).0.unwrap().size, size(320, 90));
}

#[test]
fn a_preview_shows_its_moments_in_order() {
    let clips = Clips::new();
    let spec = PreviewSpec {
        fps: 2,
        format: PreviewFormat::Gif,
        ..preview_spec(&ramp(&clips, "ramp.mp4"), 2 * SECOND_NS, 4 * SECOND_NS)
    };
    let out = spec.out.clone();
    assert_eq!(preview(spec).frames, 8);
    let shown = pixels(&out, "1:1");
    assert_eq!(shown.len(), 8);
    for (n, pixel) in shown.into_iter().enumerate() {
        let expected = 20.0 + 5.0 * n as f64;
        let frame = frame_of(pixel);
        assert!(
            (frame - expected).abs() < 3.0,
            "{frame} instead of {expected}"
        );
    }
}

/// Delays of the frames of an animated WebP, in milliseconds.
fn webp_delays(path: &Path) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap();
    let mut delays = Vec::new();
    let mut at = 12;
    while at + 8 <= bytes.len() {
        let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if &bytes[at..at + 4] == b"ANMF" {
            let delay = &bytes[at + 20..at + 23];
            delays.push(u32::from_le_bytes([delay[0], delay[1], delay[2], 0]));
        }
        at += 8 + size.next_multiple_of(2);
    }
    delays
}

#[test]
fn a_preview_lasts_as_long_as_asked() {
    let clips = Clips::new();
    let spec = PreviewSpec {
        fps: 7,
        width: 160,
        ..preview_spec(&clips.h264(5, "25", "", "a.mp4"), SECOND_NS, 3 * SECOND_NS)
    };
    let out = spec.out.clone();
    let made = preview(spec);
    let (width, height) = (160, 90);
    assert_eq!((made.frames, made.size), (21, Size { width, height }));
    assert_eq!(webp_delays(&out).iter().sum::<u32>(), 3000);
}

#[test]
fn a_preview_fits_its_bytes_and_says_what_it_gave_up() {
    let clips = Clips::new();
    let source = clips.h264(4, "25", "", "a.mp4");
    for format in [PreviewFormat::Webp, PreviewFormat::Gif] {
        let spec = |max_bytes| PreviewSpec {
            fps: 10,
            format,
            max_bytes,
            ..preview_spec(&source, 0, 3 * SECOND_NS)
        };
        let free = preview(spec(u64::MAX));
        assert_eq!((free.compromise.step, free.compromise.every), (0, 1));
        let mut width = free.size.width;
        for part in [2, 4, 8] {
            let max_bytes = free.bytes / part;
            let made = preview(spec(max_bytes));
            assert!(made.bytes <= max_bytes, "{} of {max_bytes}", made.bytes);
            assert!(made.compromise.step > 0 && made.size.width <= width);
            width = made.size.width;
            assert_eq!(made, preview(spec(max_bytes)), "not the same again");
        }
        let refused = run::<Preview>(spec(50)).0.unwrap_err();
        assert_eq!(refused.code, "preview_too_large");
    }
}

#[test]
fn a_preview_with_fewer_pictures_lasts_as_long() {
    let clips = Clips::new();
    let source = clips.h264(4, "25", "", "a.mp4");
    let spec = |max_bytes| PreviewSpec {
        fps: 10,
        max_bytes,
        ..preview_spec(&source, 0, 3 * SECOND_NS)
    };
    let free = preview(spec(u64::MAX));
    let small = spec(free.bytes / 6);
    let out = small.out.clone();
    let made = preview(small);
    assert!(made.frames < free.frames, "{made:?}");
    assert_eq!(webp_delays(&out).iter().sum::<u32>(), 3000);
}

#[test]
fn a_preview_ends_with_the_video() {
    let clips = Clips::new();
    let source = clips.h264(3, "25", "", "short.mp4");
    let made = preview(preview_spec(&source, 2 * SECOND_NS, 10 * SECOND_NS));
    assert_eq!((made.frames, made.duration_ns), (5, SECOND_NS));
}

#[test]
fn a_preview_of_one_frame_is_one_picture() {
    let clips = Clips::new();
    let source = clips.h264(1, "25", "-frames:v 1", "one.mp4");
    let spec = preview_spec(&source, 0, 3 * SECOND_NS);
    let out = spec.out.clone();
    assert_eq!(preview(spec).frames, 1);
    assert_eq!(pixels(&out, "2:2").len(), 4);
}

#[test]
fn previews_and_covers_have_limits() {
    let clips = Clips::new();
    let source = clips.h264(1, "25", "", "a.mp4");
    let longer = |mut spec: PreviewSpec| {
        spec.footage.video.end_ns = 3600 * SECOND_NS;
        spec
    };
    let spec = || preview_spec(&source, 0, SECOND_NS);
    let too_fast = PreviewSpec { fps: 31, ..spec() };
    let too_wide = PreviewSpec {
        width: 1281,
        ..spec()
    };
    let too_long = longer(preview_spec(&source, 0, 61 * SECOND_NS));
    for refused in [too_fast, too_wide, too_long] {
        assert_eq!(run::<Preview>(refused).0.unwrap_err().code, "bad_option");
    }
    let cover = CoverSpec {
        quality: 0,
        ..cover_spec(&source, None)
    };
    assert_eq!(run::<Cover>(cover).0.unwrap_err().code, "bad_option");
}
