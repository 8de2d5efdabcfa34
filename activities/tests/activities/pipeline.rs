//! The activities one after the other on a real clip, as the built-in workflows run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use telecine_engine::activity::{ActivityError, Registry};
use telecine_engine::objects::Artifact;
use telecine_testkit::program;

use crate::attempt::{Attempt, Bench};
use crate::clips::Clips;

/// A run over one source: `source.mp4` in the source store.
pub(crate) struct Run {
    pub(crate) bench: Bench,
    registry: Registry,
}

impl Run {
    pub(crate) fn new(source: &Path) -> Self {
        Self::on(Bench::new(), source)
    }

    pub(crate) fn on(bench: Bench, source: &Path) -> Self {
        std::fs::copy(source, bench.source_dir().join("source.mp4")).unwrap();
        let mut registry = Registry::default();
        telecine_activities::register(&mut registry, &bench.host).unwrap();
        Self { bench, registry }
    }

    pub(crate) async fn attempt(
        &self,
        attempt: &Attempt,
        activity: &str,
        input: Value,
    ) -> Result<Value, ActivityError> {
        let activity = self.registry.get(activity, 1).unwrap();
        activity.run(&attempt.ctx, input).await
    }

    /// Runs an activity that has to succeed.
    pub(crate) async fn step(&self, activity: &str, input: Value) -> Value {
        let attempt = self.bench.attempt(None);
        let output = self.attempt(&attempt, activity, input).await;
        output.unwrap_or_else(|e| panic!("{activity}: {e:?}"))
    }

    /// Runs an activity; its output, and what it warned of.
    pub(crate) async fn step_with_warnings(
        &self,
        activity: &str,
        input: Value,
    ) -> (Value, Vec<String>) {
        let attempt = self.bench.attempt(None);
        let output = self.attempt(&attempt, activity, input).await.unwrap();
        (output, attempt.ctx.take_outcome().1)
    }

    /// Runs an activity that has to fail; code and message of the error.
    pub(crate) async fn failure(&self, activity: &str, input: Value) -> (String, String) {
        let attempt = self.bench.attempt(None);
        let error = self.attempt(&attempt, activity, input).await.unwrap_err();
        (error.code.into_owned(), error.message)
    }

    /// Probes, allocates and plans.
    pub(crate) async fn prepare(&self) -> Prepared {
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

    /// Everything up to the packaged set.
    pub(crate) async fn package(&self) -> Packaged {
        let prepared = self.prepare().await;
        let mut chunks = Vec::new();
        for chunk in 0..prepared.plan["chunks"].as_array().unwrap().len() {
            chunks.push(self.step("video.encode", prepared.encode(chunk)).await);
        }
        let audio = match prepared.probe["audio"].as_array().unwrap().as_slice() {
            [] => Value::Null,
            _ => self.step("audio.encode", prepared.audio()).await,
        };
        let prefix = &prepared.allocation["prefix"];
        let set = json!({"prefix": prefix, "chunks": chunks, "audio": audio});
        let set = self.step("video.package_hls", set).await;
        Packaged {
            prepared,
            chunks,
            audio,
            set,
        }
    }

    /// A file of the published set.
    pub(crate) fn published(&self, name: &str) -> PathBuf {
        self.bench.media_dir().join("videos/te/testhash").join(name)
    }
}

/// Outputs of the steps before encoding.
pub(crate) struct Prepared {
    pub(crate) probe: Value,
    pub(crate) allocation: Value,
    pub(crate) plan: Value,
}

impl Prepared {
    pub(crate) fn encode(&self, chunk: usize) -> Value {
        json!({
            "source": "source.mp4",
            "chunk": self.plan["chunks"][chunk],
            "rungs": self.plan["rungs"],
            "timescale": self.plan["timescale"],
            "video": self.plan["video"],
            "prefix": self.allocation["prefix"],
        })
    }

    pub(crate) fn audio(&self) -> Value {
        json!({
            "source": "source.mp4",
            "tracks": self.probe["audio"],
            "segment_starts_ns": self.plan["segment_starts_ns"],
            "end_ns": self.plan["end_ns"],
            "prefix": self.allocation["prefix"],
        })
    }
}

/// Outputs of the steps up to packaging.
pub(crate) struct Packaged {
    pub(crate) prepared: Prepared,
    pub(crate) chunks: Vec<Value>,
    pub(crate) audio: Value,
    pub(crate) set: Value,
}

impl Packaged {
    pub(crate) fn validate(&self) -> Value {
        json!({
            "set": self.set,
            "chunks": self.chunks,
            "audio": self.audio,
            "video": self.prepared.plan["video"],
            "duration_ns": self.prepared.plan["end_ns"],
        })
    }

    pub(crate) fn publish(&self, cover: &Value, preview: &Value) -> Value {
        json!({
            "allocation": self.prepared.allocation,
            "set": self.set,
            "cover": cover,
            "preview": preview,
        })
    }
}

/// Fourteen seconds of 360p with a tone: three segments, two renditions.
pub(crate) fn short_clip(clips: &Clips) -> PathBuf {
    clip_of_rate(clips, 25)
}

/// The same with 140 frames in place of 350: half of the work, for tests that only need it done.
pub(crate) fn light_clip(clips: &Clips) -> PathBuf {
    clip_of_rate(clips, 10)
}

fn clip_of_rate(clips: &Clips, rate: u32) -> PathBuf {
    let picture = format!("-f lavfi -i testsrc2=s=640x360:r={rate}:d=14");
    let sound = "-f lavfi -i sine=r=48000:d=14 -c:a aac -ac 2";
    let codec = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let key_frames = format!("-g {}", 2 * rate);
    clips.ffmpeg(
        &format!("{picture} {sound} {codec} {key_frames}"),
        "clip.mp4",
    )
}

/// Encodes the rest of a chunk of three segments behind a checkpoint: each segment that is durable is used
/// again, and none of them is encoded again.
pub(crate) async fn go_on(
    run: &Run,
    prepared: &Prepared,
    (checkpoint, durable): (Value, &[Artifact]),
) {
    let attempt = run.bench.attempt(Some(checkpoint));
    let tag = attempt.ctx.attempt_tag().to_owned();
    let chunk = run
        .attempt(&attempt, "video.encode", prepared.encode(0))
        .await;
    let chunk = chunk.unwrap();
    let mut keys = Vec::new();
    for rendition in chunk["renditions"].as_array().unwrap() {
        let numbers = rendition["segments"].as_array().unwrap().iter();
        assert!(
            numbers
                .clone()
                .map(|s| s["number"].as_u64().unwrap())
                .eq(1..=3)
        );
        keys.extend(numbers.map(|segment| segment["object"]["key"].as_str().unwrap().to_owned()));
    }
    for durable in durable {
        assert!(keys.contains(&durable.key), "{} is used again", durable.key);
    }
    let encoded_again = keys.iter().filter(|key| key.contains(&tag)).count();
    assert_eq!(
        encoded_again,
        keys.len() - durable.len(),
        "only what was not durable is encoded"
    );
}

#[tokio::test]
async fn a_clip_becomes_a_published_set() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let packaged = run.package().await;
    let validated = run.step("media.validate", packaged.validate()).await;
    assert_eq!(
        (&validated["renditions"], &validated["segments"]),
        (&json!(3), &json!(9))
    );
    // 14 s are 140 frames in each of two renditions, and 657 packets of 1024 samples.
    assert_eq!(validated["samples"], 2 * 140 + 657);
    let published = run
        .step(
            "media.publish",
            packaged.publish(&Value::Null, &Value::Null),
        )
        .await;
    assert_eq!(published["playlist"], "videos/te/testhash/master.m3u8");
    assert_eq!(published["cover"], Value::Null);
    let publications = run.bench.take_written().publications;
    assert!(
        publications
            .iter()
            .all(|moved| *moved == ("testhash".to_owned(), 1))
    );
    assert!(!publications.is_empty());
    for playlist in ["master.m3u8", "g1/master.m3u8"] {
        assert_eq!(clips.frames_of(&run.published(playlist)), 140, "{playlist}");
    }
}

#[tokio::test]
async fn chunks_join_into_one_timeline() {
    let clips = Clips::new();
    let source = clips.h264(71, "30000/1001", "-g 60 -s 96x54", "long.mp4");
    let run = Run::new(&source);
    let packaged = run.package().await;
    assert!(packaged.chunks.len() >= 2, "the clip is encoded in chunks");
    run.step("media.validate", packaged.validate()).await;
    let frames = packaged.prepared.probe["video"]["frames"].as_u64().unwrap();
    assert_eq!(clips.frames_of(&run.published("g1/master.m3u8")), frames);
}

#[tokio::test]
async fn a_lost_attempt_costs_no_segment_that_is_durable() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let prepared = run.prepare().await;
    run.bench.lose_lease_after(2);
    let (code, _) = run.failure("video.encode", prepared.encode(0)).await;
    assert_eq!(code, "cancelled");
    let mut written = run.bench.take_written();
    let durable = written.artifacts.len();
    assert!((2..=4).contains(&durable), "one or two each: {durable}");
    let (checkpoint, covers) = written.checkpoints.pop().unwrap();
    assert!(covers.is_some());

    run.bench.keep_lease();
    go_on(&run, &prepared, (checkpoint, &written.artifacts)).await;
}

#[tokio::test]
async fn a_complete_checkpoint_needs_no_source() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let prepared = run.prepare().await;
    let first = run.step("video.encode", prepared.encode(0)).await;
    let (checkpoint, _) = run.bench.take_written().checkpoints.pop().unwrap();
    std::fs::remove_file(run.bench.source_dir().join("source.mp4")).unwrap();
    let attempt = run.bench.attempt(Some(checkpoint));
    let second = run
        .attempt(&attempt, "video.encode", prepared.encode(0))
        .await;
    assert_eq!(second.unwrap(), first);
}

#[tokio::test]
async fn a_set_that_comes_late_gives_its_names_back_to_the_later_one() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let packaged = run.package().await;
    let publish = packaged.publish(&Value::Null, &Value::Null);
    // The later job, g2, made the same set; its publication and copies come in between.
    let copy = program::output(
        Command::new("cp")
            .arg("-r")
            .args([run.published("g1"), run.published("g2")]),
    );
    assert!(copy.status.success());
    run.bench.overtake_with(2);
    let (_, warnings) = run.step_with_warnings("media.publish", publish).await;
    assert!(
        warnings[0].starts_with("published_meanwhile: g2 "),
        "{warnings:?}"
    );
    let playlist = std::fs::read_to_string(run.published("master.m3u8")).unwrap();
    assert!(
        playlist.contains("\ng2/video/r360_h264/playlist.m3u8\n"),
        "{playlist}"
    );
    assert!(!playlist.contains("g1/"), "{playlist}");
    assert_eq!(clips.frames_of(&run.published("master.m3u8")), 140);

    // Nor does an attempt that was taken for dead before it copied leave older copies behind.
    let again = [run.published("g2"), run.published("g3")];
    let copy = program::output(Command::new("cp").arg("-r").args(again));
    assert!(copy.status.success());
    run.bench.overtake_and_fence_with(3);
    let publish = packaged.publish(&Value::Null, &Value::Null);
    let attempt = run.bench.attempt(None);
    let ended = run.attempt(&attempt, "media.publish", publish).await;
    assert_eq!(&*ended.unwrap_err().code, "cancelled");
    let playlist = std::fs::read_to_string(run.published("master.m3u8")).unwrap();
    assert!(playlist.contains("\ng3/video/"), "{playlist}");
}

#[tokio::test]
async fn pictures_are_published_under_the_names_that_readers_know() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let prepared = run.prepare().await;
    let picture = |options: Value| {
        let mut input = json!({
            "source": "source.mp4",
            "video": prepared.probe["video"],
            "exact_seeks": prepared.probe["chunkable"],
            "prefix": prepared.allocation["prefix"],
        });
        input
            .as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        input
    };
    let cover = run.step("video.cover", picture(json!({"at_s": 3.0}))).await;
    assert_eq!(cover["at_ns"], 3_000_000_000_u64);
    let options = json!({"start_s": 1, "duration_s": 1, "width": 160, "fps": 5, "format": "gif"});
    let preview = run
        .step("video.preview", picture(json!({"options": options})))
        .await;
    assert_eq!(preview["frames"], 5);
    let options = json!({"interval_s": 2, "short_edge": 45});
    let sprites = run.step("video.sprites", picture(options)).await;
    let publish = json!({
        "allocation": prepared.allocation, "set": null, "cover": cover, "preview": preview,
        "sprites": sprites,
    });
    let published = run.step("media.publish", publish).await;
    assert_eq!(published["playlist"], Value::Null);
    for name in ["cover.jpg", "preview.gif"] {
        let root = std::fs::read(run.published(name)).unwrap();
        assert_eq!(
            root,
            std::fs::read(run.published(&format!("g1/{name}"))).unwrap()
        );
        assert_eq!(
            published[name.split('.').next().unwrap()],
            format!("videos/te/testhash/{name}")
        );
    }
    assert_eq!(
        published["sprites"],
        "videos/te/testhash/sprites/sprites.vtt"
    );
    for place in ["sprites", "g1/sprites"] {
        let directory = run.published(place);
        let vtt = std::fs::read_to_string(directory.join("sprites.vtt")).unwrap();
        let tiles = vtt.lines().filter_map(|line| line.split_once("#xywh="));
        let sheets: Vec<&str> = tiles.map(|(sheet, _)| sheet).collect();
        assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n"));
        assert!(!sheets.is_empty());
        for sheet in sheets {
            assert!(directory.join(sheet).is_file(), "{place}: {sheet}");
        }
    }
}

#[tokio::test]
async fn nothing_is_published_of_nothing() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let allocation =
        json!({"hash": "testhash", "generation": 1, "prefix": "videos/te/testhash/g1"});
    let publish = json!({"allocation": allocation, "set": null, "cover": null, "preview": null});
    let (code, _) = run.failure("media.publish", publish).await;
    assert_eq!(code, "nothing_to_publish");
    assert!(run.bench.take_written().publications.is_empty());
}

#[tokio::test]
async fn stores_without_local_files_work_as_well() {
    let clips = Clips::new();
    let run = Run::on(Bench::remote(), &light_clip(&clips));
    let packaged = run.package().await;
    let validated = run.step("media.validate", packaged.validate()).await;
    assert_eq!(validated["segments"], 9);
}

#[tokio::test]
async fn a_missing_source_is_named() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let (code, message) = run
        .failure("media.probe", json!({"source": "gone.mp4"}))
        .await;
    assert_eq!(code, "object_missing");
    assert!(message.contains("gone.mp4"), "{message}");
}
