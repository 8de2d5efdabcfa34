//! Sources that are damaged in the middle but go on behind it: what can be had is published, and the
//! job says how much is missing. Where most is missing, it fails.

use serde_json::Value;

use super::bad::{assert_refused, noise};
use super::recipes::run;
use super::{codes, product};
use crate::product::Workplace;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

const CLIP: &str = "video=320x240:25:20 x264 -bf 2 -g 50";

/// A clip with noise from one part of its length to another.
struct Damaged {
    name: &'static str,
    ffmpeg: &'static str,
    percent: Range<usize>,
    /// Every how many bytes one is changed.
    step: usize,
    /// Codes of the warnings that tell of it, or of the error.
    told: Result<&'static [&'static str], &'static str>,
}

const DAMAGED: &[Damaged] = &[
    Damaged {
        name: "refused.mp4",
        ffmpeg: CLIP,
        percent: 40..50,
        step: 1,
        told: Ok(&["damaged_pictures"]),
    },
    Damaged {
        name: "concealed.mp4",
        ffmpeg: CLIP,
        percent: 40..50,
        step: 500,
        told: Ok(&["damaged_pictures"]),
    },
    Damaged {
        name: "dropped.avi",
        ffmpeg: "video=320x240:25:20 -c:v mpeg4 -q:v 4",
        percent: 40..50,
        step: 1,
        told: Ok(&["damaged_pictures"]),
    },
    Damaged {
        name: "lost_packets.ts",
        ffmpeg: CLIP,
        percent: 40..50,
        step: 1,
        told: Ok(&["damaged_container"]),
    },
    Damaged {
        name: "silence.mp4",
        ffmpeg: "tone=20 -c:a aac",
        percent: 40..50,
        step: 1,
        told: Ok(&["sound_gaps"]),
    },
    Damaged {
        name: "mostly.mp4",
        ffmpeg: CLIP,
        percent: 20..90,
        step: 500,
        told: Err("source_damaged"),
    },
];

#[test]
fn a_damaged_middle_is_told_and_a_source_that_is_mostly_broken_is_refused() {
    for row in DAMAGED {
        let place = Workplace::new();
        let source = row.make(place.path());
        let began = Instant::now();
        let output = product::output(place.run("video:transcode", &source));
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        eprintln!("{:20} {}", row.name, document["warnings"]);
        match row.told {
            Ok(warnings) => {
                assert_eq!(document["status"], "succeeded", "{}", document["error"]);
                let told = codes(&document);
                let all = warnings.iter().all(|code| told.contains(*code));
                assert!(all, "{}: {}", row.name, document["warnings"]);
            }
            Err(code) => {
                assert_eq!(document["error"]["code"], code, "{}", row.name);
                assert_refused(&place, &document, began.elapsed());
            }
        }
    }
}

impl Damaged {
    fn make(&self, directory: &Path) -> PathBuf {
        run(&format!("{} {}", self.ffmpeg, self.name), directory);
        let file = directory.join(self.name);
        let mut bytes = std::fs::read(&file).expect("a source");
        let part = |percent: usize| bytes.len() * percent / 100;
        let (from, to) = (part(self.percent.start), part(self.percent.end));
        noise(&mut bytes[from..to], self.step);
        std::fs::write(&file, bytes).expect("a file to write");
        file
    }
}
