//! What validation finds in sets that were damaged on purpose.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clips::Clips;
use crate::pipeline::{Packaged, Run};

/// A packaged set, and where its second video segment is.
struct Damaged {
    run: Run,
    packaged: Packaged,
    segment: PathBuf,
}

impl Damaged {
    async fn new() -> Self {
        let clips = Clips::new();
        let run = Run::new(&clips.h264(13, "10", "-g 20", "clip.mp4"));
        let packaged = run.package().await;
        let key = packaged.chunks[0]["renditions"][0]["segments"][1]["object"]["key"].as_str();
        let segment = run.bench.media_dir().join(key.unwrap());
        Self {
            run,
            packaged,
            segment,
        }
    }

    /// What was recorded of the segment.
    fn recorded(&mut self) -> &mut Value {
        &mut self.packaged.chunks[0]["renditions"][0]["segments"][1]
    }

    /// Changes the segment, and what was recorded of it, so that only decoding can find it.
    fn forge(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(&self.segment).unwrap();
        change(&mut bytes);
        std::fs::write(&self.segment, &bytes).unwrap();
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        self.recorded()["object"]["sha256"] = json!(digest);
        self.recorded()["object"]["size"] = json!(bytes.len());
    }

    async fn found(&self) -> (String, String) {
        self.run
            .failure("media.validate", self.packaged.validate())
            .await
    }

    async fn breaks(&self, rule: &str) {
        let (code, message) = self.found().await;
        assert_eq!(code, "package_invalid", "{message}");
        assert!(message.contains(&format!("{rule} (")), "{message}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_found() {
    let set = Damaged::new().await;
    let mut bytes = std::fs::read(&set.segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&set.segment, bytes).unwrap();
    assert_eq!(set.found().await.0, "object_corrupt");
}

#[tokio::test]
async fn a_segment_that_is_gone_is_found() {
    let set = Damaged::new().await;
    std::fs::remove_file(&set.segment).unwrap();
    assert_eq!(set.found().await.0, "object_lost");
}

#[tokio::test]
async fn a_segment_that_does_not_decode_is_found() {
    let mut set = Damaged::new().await;
    set.forge(|bytes| {
        let middle = bytes.len() / 4;
        bytes[middle..].fill(0xa5);
    });
    set.breaks("avc-nal").await;
}

#[tokio::test]
async fn a_segment_of_another_place_is_found() {
    let mut set = Damaged::new().await;
    let first = set.packaged.chunks[0]["renditions"][0]["segments"][0]["object"]["key"].as_str();
    let first = std::fs::read(set.run.bench.media_dir().join(first.unwrap())).unwrap();
    set.forge(|bytes| *bytes = first);
    set.breaks("cmaf-sequence-number").await;
}

#[tokio::test]
async fn a_changed_playlist_is_found() {
    let set = Damaged::new().await;
    let playlist = set.run.published("g1/video/r180_h264/playlist.m3u8");
    let text = std::fs::read_to_string(&playlist).unwrap();
    std::fs::write(&playlist, text.replace("#EXT-X-ENDLIST\n", "")).unwrap();
    assert_eq!(set.found().await.0, "object_corrupt");
}

#[tokio::test]
async fn a_set_that_is_shorter_than_its_source_is_found() {
    let mut set = Damaged::new().await;
    set.packaged.prepared.plan["end_ns"] = json!(15_000_000_000_u64);
    set.breaks("recorded-duration").await;
}

#[tokio::test]
async fn renditions_that_are_cut_at_other_times_are_found() {
    let mut set = Damaged::new().await;
    set.recorded()["duration_ticks"] = json!(1);
    let (code, message) = set.found().await;
    assert_eq!(code, "package_invalid", "{message}");
}
