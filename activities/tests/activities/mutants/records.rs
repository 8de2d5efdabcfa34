//! What was recorded of a set, and what would be recorded of another.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use telecine_activities::lint::Recorded;
use telecine_activities::lint::Rule::{self, *};
use telecine_activities::media::renditions::Rendition;
use telecine_engine::objects::Artifact;

use super::Files;
use crate::pipeline::Packaged;

/// Everything that the makers of a set know of it.
pub(super) fn of(set: &Files, packaged: &Packaged) -> Recorded {
    let mut renditions = BTreeMap::new();
    // One chunk holds all segments of a short clip.
    let video = packaged
        .chunks
        .iter()
        .flat_map(|chunk| chunk["renditions"].as_array().unwrap());
    for rendition in video {
        let rendition: Rendition = serde_json::from_value(rendition.clone()).unwrap();
        renditions.insert(
            format!("video/{}/playlist.m3u8", rendition.track.name),
            rendition,
        );
    }
    if !packaged.audio.is_null() {
        let rendition: Rendition = serde_json::from_value(packaged.audio.clone()).unwrap();
        renditions.insert(AUDIO.to_owned(), rendition);
    }
    Recorded {
        files: set
            .0
            .iter()
            .map(|(path, bytes)| (path.clone(), artifact(bytes)))
            .collect(),
        renditions,
        duration_s: packaged.prepared.plan["end_ns"].as_f64().unwrap() / 1e9,
        frame_s: 0.04,
    }
}

fn artifact(bytes: &[u8]) -> Artifact {
    Artifact {
        key: String::new(),
        size: bytes.len() as u64,
        sha256: Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        media_type: String::new(),
    }
}

const VIDEO: &str = "video/r360_h264/playlist.m3u8";
const AUDIO: &str = "audio/und_aac_2ch/playlist.m3u8";

fn rendition<'a>(recorded: &'a mut Recorded, path: &str) -> &'a mut Rendition {
    recorded.renditions.get_mut(path).unwrap()
}

/// What else was recorded, and the rule that finds it.
type Other = (&'static str, fn(&mut Recorded), Rule);

/// Every other record.
pub(super) fn all() -> Vec<Other> {
    [files(), tracks(), segments()].concat()
}

fn files() -> Vec<Other> {
    vec![
        (
            "a file more",
            |set| drop(set.files.insert("more".to_owned(), artifact(b"more"))),
            RecordedFile,
        ),
        (
            "a file less",
            |set| drop(set.files.remove(VIDEO)),
            RecordedFile,
        ),
        (
            "other bytes",
            |set| set.files.get_mut(VIDEO).unwrap().sha256 = "0".repeat(64),
            RecordedDigest,
        ),
        (
            "another size",
            |set| set.files.get_mut(VIDEO).unwrap().size += 1,
            RecordedDigest,
        ),
        (
            "a longer source",
            |set| set.duration_s += 0.1,
            RecordedDuration,
        ),
        (
            "a shorter source",
            |set| set.duration_s -= 0.1,
            RecordedDuration,
        ),
    ]
}

fn tracks() -> Vec<Other> {
    vec![
        (
            "another profile",
            |set| rendition(set, VIDEO).track.codecs = "avc1.4d001e".to_owned(),
            RecordedFacts,
        ),
        (
            "another codec",
            |set| rendition(set, AUDIO).track.codecs = "mp4a.40.5".to_owned(),
            RecordedFacts,
        ),
        (
            "another timescale",
            |set| rendition(set, VIDEO).track.timescale += 1,
            RecordedFacts,
        ),
        (
            "another size",
            |set| {
                rendition(set, VIDEO)
                    .track
                    .video
                    .as_mut()
                    .unwrap()
                    .size
                    .width += 2
            },
            RecordedFacts,
        ),
        (
            "more channels",
            |set| rendition(set, AUDIO).track.audio.as_mut().unwrap().channels = 6,
            RecordedFacts,
        ),
        (
            "another rate",
            |set| {
                rendition(set, AUDIO)
                    .track
                    .audio
                    .as_mut()
                    .unwrap()
                    .sample_rate = 44_100
            },
            RecordedFacts,
        ),
        (
            "another kind of media",
            |set| rendition(set, AUDIO).track.audio = None,
            RecordedFacts,
        ),
    ]
}

fn segments() -> Vec<Other> {
    vec![
        (
            "a segment more",
            |set| drop(rendition(set, VIDEO).segments.remove(2)),
            RecordedFacts,
        ),
        (
            "another number",
            |set| rendition(set, VIDEO).segments[0].number = 2,
            RecordedFacts,
        ),
        (
            "a later start",
            |set| rendition(set, VIDEO).segments[1].start_ticks += 1,
            RecordedFacts,
        ),
        (
            "a longer segment",
            |set| rendition(set, AUDIO).segments[1].duration_ticks += 1,
            RecordedFacts,
        ),
        (
            "a sample more",
            |set| rendition(set, AUDIO).segments[2].samples += 1,
            RecordedFacts,
        ),
    ]
}
