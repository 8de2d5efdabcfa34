//! Runs the product as a user does, and reads what it made with tools that are not ours.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use telecine_engine::run::RecordedEvent;
use telecine_engine::store::{RunFilter, Store as _};
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::program;

use crate::ffmpeg;
use crate::repository::root;

/// No job on the clips of this suite takes longer. Six minutes of 1080p took 502 s on two cores with as
/// much other work again, and over 600 s with twice that.
const LONGEST_JOB: Duration = Duration::from_secs(1800);

/// The clip shipped for the demo: 20 s of 720p24 with stereo sound.
pub(crate) fn demo_clip() -> PathBuf {
    root().join("examples/media/sintel-20s.mp4")
}

/// The demo clip with two small rungs, for tests that come to a job while it encodes: four segments, a key
/// frame in each second. Made once for each checkout.
pub(crate) fn small_clip() -> PathBuf {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| make_small_clip(24)).clone()
}

/// The same with a third of its frames, for tests that only need it encoded: a job on it takes half of the
/// processor time.
pub(crate) fn light_clip() -> PathBuf {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| make_small_clip(8)).clone()
}

/// Of so many frames in each second.
fn make_small_clip(rate: u32) -> PathBuf {
    let name = format!("sintel-20s-360p-{rate}.mp4");
    let clip = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !clip.exists() {
        let (filter, rate) = (format!("fps={rate},scale=-2:360"), rate.to_string());
        let begun = clip.with_extension(format!("{}.mp4", std::process::id()));
        let (from, to) = (demo_clip(), begun.to_str().expect("a path in UTF-8"));
        let from = from.to_str().expect("a path in UTF-8");
        let small = ["-i", from, "-vf", &filter, "-c:v", "libx264"];
        let fast = ["-preset", "ultrafast", "-g", &rate, "-c:a", "copy", to];
        ffmpeg::ffmpeg(&[&small[..], &fast].concat());
        std::fs::rename(&begun, &clip).expect("the clip is in its place");
    }
    clip
}

/// A data directory, a media store, and a mark by which processes started here are found again.
#[derive(Debug)]
pub(crate) struct Workplace {
    dir: tempfile::TempDir,
    mark: String,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mark = dir.path().display().to_string();
        Self { dir, mark }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// `telecine` with this workplace's data directory, in a process group of its own.
    pub(crate) fn telecine(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecine"));
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.data())
            .current_dir(self.path())
            .env("WORKPLACE_MARK", &self.mark)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// `telecine run WORKFLOW SOURCE --out ... -o json`.
    pub(crate) fn run(&self, workflow: &str, source: &Path) -> Command {
        let source = source.to_str().expect("a path in UTF-8");
        let out = self.out();
        let out = out.to_str().expect("a path in UTF-8");
        self.telecine(&["run", workflow, source, "--out", out, "-o", "json"])
    }

    /// Processes that carry this workplace's mark in their environment.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let mark = format!("WORKPLACE_MARK={}", self.mark);
        let entries = std::fs::read_dir("/proc").expect("a /proc to look into");
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        })
        .collect()
    }

    /// Fails unless every process of this workplace is gone within two seconds.
    pub(crate) fn assert_no_survivors(&self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.survivors().is_empty() {
            assert!(
                Instant::now() < deadline,
                "processes survive: {:?}",
                self.survivors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The one published set: `out/videos/hh/hash`.
    pub(crate) fn set(&self) -> PathBuf {
        let only = |dir: &Path| {
            let mut entries = std::fs::read_dir(dir).expect("a directory").flatten();
            let first = entries.next().expect("something was published").path();
            assert!(
                entries.next().is_none(),
                "{} holds one entry",
                dir.display()
            );
            first
        };
        only(&only(&self.out().join("videos")))
    }
}

/// Waits for a job, but not for ever.
pub(crate) fn finish(child: Child) -> Output {
    program::finish(child, "the command", LONGEST_JOB)
}

/// Starts a command with its output piped.
pub(crate) fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Runs a command to its end.
pub(crate) fn output(command: Command) -> Output {
    finish(spawn(command))
}

/// Runs a job that must succeed and answers its document.
pub(crate) fn succeed(command: Command) -> Value {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON document on stdout")
}

/// What has happened to the newest job of a workplace; nothing before there is one.
pub(crate) fn events(place: &Workplace) -> Vec<RecordedEvent> {
    if !place.data().join("telecine.db").exists() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let events = runtime.block_on(async {
        let store = SqliteStore::open(&place.data()).await;
        let store = store.expect("the store opens");
        let newest = RunFilter {
            limit: 1,
            ..RunFilter::default()
        };
        let runs = store.list_runs(&newest).await;
        match runs.expect("runs can be listed").runs.first() {
            Some(run) => store.events(&run.id, 0, 100_000).await,
            None => Ok(Vec::new()),
        }
    });
    events.expect("events can be read")
}

/// The media playlists of a set, by path, with the eight hex digits of segment names removed.
pub(crate) fn media_playlists(set: &Path) -> BTreeMap<String, String> {
    let generation = set.join("g1");
    let mut playlists = BTreeMap::new();
    for kind in ["video", "audio"] {
        let Ok(tracks) = std::fs::read_dir(generation.join(kind)) else {
            continue;
        };
        for track in tracks.flatten() {
            let text = std::fs::read_to_string(track.path().join("playlist.m3u8"))
                .expect("a media playlist");
            let name = format!("{kind}/{}", track.file_name().to_string_lossy());
            playlists.insert(name, text.lines().map(without_tag).collect());
        }
    }
    playlists
}

fn without_tag(line: &str) -> String {
    match line
        .strip_suffix(".m4s")
        .and_then(|stem| stem.rsplit_once('_'))
    {
        Some((name, tag)) if tag.len() == 8 => format!("{name}.m4s\n"),
        _ => format!("{line}\n"),
    }
}

/// Frames that ffmpeg decodes of each video rendition. Fails on any message.
pub(crate) fn decoded_frames(set: &Path) -> BTreeMap<String, usize> {
    let tracks = std::fs::read_dir(set.join("g1/video")).expect("video renditions");
    tracks
        .flatten()
        .map(|track| {
            let frames = ffmpeg::decoded_frames(&track.path().join("playlist.m3u8"));
            (track.file_name().to_string_lossy().into_owned(), frames)
        })
        .collect()
}
