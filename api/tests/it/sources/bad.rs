//! Sources that cannot become a set: each fails at once, with its own code, and publishes nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::recipes::run;
use crate::product::{self, Workplace};

/// How long a refusal may take: on the clock where the campaign has the machine to itself, of processors
/// elsewhere.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What makes a bad source from words of ffmpeg, as in the matrix.
struct Bad {
    name: &'static str,
    ffmpeg: &'static str,
    spoil: fn(Vec<u8>) -> Vec<u8>,
    code: &'static str,
}

const fn bad(
    name: &'static str,
    code: &'static str,
    ffmpeg: &'static str,
    spoil: fn(Vec<u8>) -> Vec<u8>,
) -> Bad {
    Bad {
        name,
        ffmpeg,
        spoil,
        code,
    }
}

const CLIP: &str = "video=320x240:25:20 tone=20 x264 -g 50 -c:a aac";
const FASTSTART: &str = "video=320x240:25:20 tone=20 x264 -g 50 -c:a aac -movflags +faststart";

/// Every kind of badness.
const BAD: &[Bad] = &[
    bad("empty.mp4", "empty_source", "", |_| Vec::new()),
    bad("text.mkv", "not_media", "", |_| {
        b"no video, whatever the name says\n".to_vec()
    }),
    bad("zeros.mp4", "not_media", "", |_| vec![0; 100_000]),
    bad("script.mp4", "not_media", "", |_| {
        b"#!/bin/sh\ntouch /tmp/x\n".to_vec()
    }),
    bad("headless.mp4", "malformed_source", CLIP, |bytes| {
        percent(bytes, 50)
    }),
    bad("cut_10.mp4", "source_truncated", FASTSTART, |bytes| {
        percent(bytes, 10)
    }),
    bad("cut_50.mp4", "source_truncated", FASTSTART, |bytes| {
        percent(bytes, 50)
    }),
    bad("cut_90.mp4", "source_truncated", FASTSTART, |bytes| {
        percent(bytes, 90)
    }),
    bad(
        "cut_fragments.mp4",
        "source_truncated",
        "video=320x240:25:20 x264 -g 50 -movflags frag_keyframe+empty_moov",
        |bytes| percent(bytes, 51),
    ),
    bad("cut_50.mov", "source_truncated", FASTSTART, |bytes| {
        percent(bytes, 50)
    }),
    bad("cut_50.mkv", "source_truncated", CLIP, |bytes| {
        percent(bytes, 50)
    }),
    bad("cut_90.mkv", "source_truncated", CLIP, |bytes| {
        percent(bytes, 90)
    }),
    bad(
        "cut_50.webm",
        "source_truncated",
        "video=320x240:25:20 -c:v libvpx -deadline realtime -cpu-used 8",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_50.avi",
        "source_truncated",
        "video=320x240:25:20 -c:v mpeg4",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_50.flv",
        "source_truncated",
        "video=320x240:25:20 x264",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_50.wmv",
        "source_truncated",
        "video=320x240:25:20 -c:v wmv2",
        |bytes| percent(bytes, 50),
    ),
    bad("cut_50.wav", "source_truncated", "tone=20", |bytes| {
        percent(bytes, 50)
    }),
    bad(
        "cut_50.mp3",
        "source_truncated",
        "tone=20 -c:a libmp3lame",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_99.mp3",
        "source_truncated",
        "tone=20 -c:a libmp3lame -q:a 4",
        |bytes| percent(bytes, 99),
    ),
    bad(
        "cut_50.flac",
        "source_truncated",
        "tone=20 -c:a flac",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_90.flac",
        "source_truncated",
        "tone=20 -c:a flac",
        |bytes| percent(bytes, 90),
    ),
    bad(
        "cut_50.ogg",
        "source_truncated",
        "tone=20 -c:a libvorbis",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_99.ogg",
        "source_truncated",
        "tone=20 -c:a libopus",
        |bytes| percent(bytes, 99),
    ),
    bad(
        "headless_50.m4a",
        "malformed_source",
        "tone=20 -c:a aac",
        |bytes| percent(bytes, 50),
    ),
    bad(
        "cut_50.m4a",
        "source_truncated",
        "tone=20 -c:a aac -movflags +faststart",
        |bytes| percent(bytes, 50),
    ),
    bad("cut_header.mkv", "malformed_source", CLIP, |bytes| {
        bytes[..60].to_vec()
    }),
    bad(
        "encrypted.mp4",
        "encrypted_source",
        "video=320x240:25:2 x264 -encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff -encryption_kid 00112233445566778899aabbccddeeff",
        |bytes| bytes,
    ),
    bad(
        "dolby_vision_5.mp4",
        "hdr_unsupported",
        "video=320x240:25:1 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=none",
        dolby_vision_5,
    ),
    bad("ac4.m4a", "codec_unsupported", "tone=2 -c:a aac", |bytes| {
        renamed(bytes, *b"mp4a", *b"ac-4")
    }),
    bad(
        "unknown.mp4",
        "codec_unsupported",
        "video=320x240:25:2 x264",
        |bytes| renamed(bytes, *b"avc1", *b"zzzz"),
    ),
    bad(
        "picture.mp4",
        "not_video",
        "video=320x240:25:1 -frames:v 1 -c:v mjpeg -f image2",
        |bytes| bytes,
    ),
    bad(
        "nothing.mp4",
        "no_streams",
        "-f lavfi -i color=black:size=64x64:d=1 x264",
        |bytes| renamed(bytes, *b"vide", *b"meta"),
    ),
    bad(
        "noise.mp4",
        "source_truncated",
        "video=320x240:25:20 x264 -movflags +faststart",
        noise_from_a_tenth,
    ),
];

fn percent(bytes: Vec<u8>, percent: usize) -> Vec<u8> {
    bytes[..bytes.len() * percent / 100].to_vec()
}

/// Gives every box of a type another type.
fn renamed(mut bytes: Vec<u8>, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == from {
            bytes[at..at + 4].copy_from_slice(&to);
        }
    }
    bytes
}

/// Says that the picture is Dolby Vision, profile 5, in place of what its bit rates are.
fn dolby_vision_5(bytes: Vec<u8>) -> Vec<u8> {
    let mut bytes = renamed(bytes, *b"btrt", *b"dvcC");
    let at = bytes.windows(4).position(|kind| kind == b"dvcC");
    let record = at.expect("bit rates") + 4;
    bytes[record..record + 5].copy_from_slice(&[1, 0, 5 << 1, 0, 0]);
    bytes
}

/// Noise in place of everything but the first tenth, which holds the index.
fn noise_from_a_tenth(mut bytes: Vec<u8>) -> Vec<u8> {
    let from = bytes.len() / 10;
    noise(&mut bytes[from..], 1);
    bytes
}

/// Changes every byte, or one in so many, to one by chance.
pub(super) fn noise(bytes: &mut [u8], step: usize) {
    let mut state = 1_u32;
    for byte in bytes.iter_mut().step_by(step) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
}

/// A job failed as it is to: at once, with a class, a code and a sentence, and without a trace.
pub(super) fn assert_refused(place: &Workplace, document: &Value, took: Duration) {
    let error = &document["error"];
    assert_eq!(document["status"], "failed");
    assert_eq!(error["class"], "input", "{error}");
    assert!(
        error["code"].is_string() && error["message"].is_string(),
        "{error}"
    );
    let cpu = cpu_time(document);
    assert!(cpu < AT_ONCE, "it took {cpu:.1?} of processors: {error}");
    if super::asked().is_some() {
        assert!(took < AT_ONCE, "it took {took:.1?}: {error}");
    }
    if place.out().exists() {
        let published = published(&place.out());
        assert!(published.is_empty(), "it was published: {published:?}");
    }
}

/// What a reader of a media store may come upon: all that lies outside of the generations. Inside of one,
/// segments of an encode that found the damage may be left; nothing leads to them or says that they are to be
/// read.
fn published(store: &Path) -> Vec<PathBuf> {
    let mut files = super::files(store);
    files.retain(|file| {
        let key = file.strip_prefix(store).expect("it is below");
        let mut parts = key.iter().map(|part| part.to_string_lossy());
        let in_generation = parts.nth(3).is_some_and(|part| is_generation(&part));
        !in_generation || super::is_playlist(file) || file.ends_with(".published")
    });
    files
}

/// Whether it is the name of a generation: `g1`.
fn is_generation(name: &str) -> bool {
    let number = name.strip_prefix('g');
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What the attempts of a job took of processors.
fn cpu_time(document: &Value) -> Duration {
    let steps = document["steps"].as_array().into_iter().flatten();
    let attempts = steps.flat_map(|step| step["attempts"].as_array().into_iter().flatten());
    let seconds = attempts.filter_map(|attempt| attempt["cpu_s"].as_f64());
    Duration::from_secs_f64(seconds.sum())
}

#[test]
fn bad_sources_fail_at_once_each_with_its_code_and_publish_nothing() {
    let place = Workplace::new();
    let mut wrong = Vec::new();
    for row in BAD {
        let source = row.make(place.path());
        let began = Instant::now();
        let output = product::output(place.run("video:full", &source));
        let took = began.elapsed();
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        let code = document["error"]["code"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        eprintln!("{:20} {code} {took:.1?}", row.name);
        if code == row.code {
            assert_refused(&place, &document, took);
        } else {
            wrong.push(format!(
                "{}: {} instead of {}",
                row.name, document["error"], row.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    place.assert_no_survivors();
}

impl Bad {
    fn make(&self, directory: &Path) -> PathBuf {
        let file = directory.join(self.name);
        if !self.ffmpeg.is_empty() {
            run(&format!("{} {}", self.ffmpeg, self.name), directory);
        }
        let bytes = std::fs::read(&file).unwrap_or_default();
        std::fs::write(&file, (self.spoil)(bytes)).expect("a file to write");
        file
    }
}
