//! The activities one after the other on a real clip, as `video:transcode` runs them.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use telecine_engine::activity::{ActivityError, Registry};

use crate::attempt::{Attempt, Bench};
use crate::clips::Clips;

/// A run over one source: `source.mp4` in the source store.
struct Run {
    bench: Bench,
    registry: Registry,
}

impl Run {
    fn new(source: &Path) -> Self {
        let bench = Bench::new();
        std::fs::copy(source, bench.source_dir().join("source.mp4")).unwrap();
        let mut registry = Registry::default();
        telecine_activities::register(&mut registry, &bench.host).unwrap();
        Self { bench, registry }
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        activity: &str,
        input: &Value,
    ) -> Result<Value, ActivityError> {
        let activity = self.registry.get(activity, 1).unwrap();
        activity.run(&attempt.ctx, input.clone()).await
    }

    async fn step(&self, activity: &str, input: Value) -> Value {
        let attempt = self.bench.attempt(None);
        let output = self.attempt(&attempt, activity, &input).await;
        output.unwrap_or_else(|e| panic!("{activity}: {e:?}"))
    }

    /// Probes, allocates and plans.
    async fn prepare(&self) -> Prepared {
        let probe = self
            .step("media.probe", json!({"source": "source.mp4"}))
            .await;
        let allocation = json!({"hash": "testhash", "sha256": probe["sha256"]});
        let allocation = self.step("media.allocate", allocation).await;
        let plan = self
            .step("video.plan_chunks", json!({"probe": probe}))
            .await;
        Prepared {
            probe,
            allocation,
            plan,
        }
    }
}

#[derive(Debug, Serialize)]
struct Prepared {
    probe: Value,
    allocation: Value,
    plan: Value,
}

impl Prepared {
    fn encode(&self, chunk: usize) -> Value {
        json!({
            "source": "source.mp4",
            "chunk": self.plan["chunks"][chunk],
            "rungs": self.plan["rungs"],
            "timescale": self.plan["timescale"],
            "video": self.plan["video"],
            "prefix": self.allocation["prefix"],
        })
    }

    fn audio(&self) -> Value {
        json!({
            "source": "source.mp4",
            "tracks": self.probe["audio"],
            "segment_starts_ns": self.plan["segment_starts_ns"],
            "end_ns": self.plan["end_ns"],
            "prefix": self.allocation["prefix"],
        })
    }
}

fn clip(clips: &Clips) -> std::path::PathBuf {
    let sine = "-f lavfi -i sine=r=48000:d=14 -c:a aac -ac 2";
    clips.ffmpeg(
        &format!("-f lavfi -i testsrc2=s=640x360:r=25:d=14 {sine} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50"),
        "clip.mp4",
    )
}

#[tokio::test]
async fn a_clip_becomes_a_published_set() {
    let clips = Clips::new();
    let run = Run::new(&clip(&clips));
    let prepared = run.prepare().await;
    let chunk = run.step("video.encode", prepared.encode(0)).await;
    let audio = run.step("audio.encode", prepared.audio()).await;
    let set = json!({"prefix": prepared.allocation["prefix"], "chunks": [chunk], "audio": audio});
    let set = run.step("video.package_hls", set).await;
    let validated = run
        .step(
            "media.validate",
            json!({
                "set": set,
                "chunks": [chunk],
                "audio": audio,
                "video": prepared.plan["video"],
                "duration_ns": prepared.plan["end_ns"],
            }),
        )
        .await;
    eprintln!("{validated}");
    let published = run
        .step(
            "media.publish",
            json!({"allocation": prepared.allocation, "set": set, "cover": null, "preview": null}),
        )
        .await;
    assert_eq!(published["playlist"], "videos/te/testhash/master.m3u8");
    let master = run.bench.media_dir().join("videos/te/testhash/master.m3u8");
    eprintln!("{}", std::fs::read_to_string(&master).unwrap());
    let frames = clips.frames_of(&master);
    assert_eq!(frames, 14 * 25);
}
