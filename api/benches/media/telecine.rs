//! The product, in the release build.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::measure::{Cost, measured};

const PROGRAM: &str = env!("CARGO_BIN_EXE_telecine");

/// `video:transcode`, and the line of it that leaves the length of chunks to the activity.
const TRANSCODE: &str = include_str!("../../../workflows/definitions/video-transcode.yaml");
const USUAL_CHUNKS: &str = r#"with: {probe: "${{ steps.probe.output }}"}"#;

/// The product, a clip, and directories that no two jobs share.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    home: &'a Path,
    clip: &'a Path,
    jobs: Cell<u32>,
}

/// One job that succeeded.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// All of it.
    pub(crate) cost: Cost,
    /// CPU seconds of the step that looks at every segment again.
    pub(crate) validate_cpu_s: f64,
    /// Peak resident memory of one running encode, in bytes.
    pub(crate) encode_rss_bytes: u64,
    /// Seconds in which no step ran.
    pub(crate) idle_s: f64,
    /// Bytes of what was made.
    pub(crate) made_bytes: u64,
    /// Where it was made.
    pub(crate) out: PathBuf,
    /// How many chunks the video was encoded in.
    pub(crate) chunks: usize,
}

impl<'a> Product<'a> {
    pub(crate) fn new(home: &'a Path, clip: &'a Path) -> Self {
        let jobs = Cell::new(0);
        Self { home, clip, jobs }
    }

    /// The encode plan of the clip: what the peers are to make as well. Its job also warms caches.
    pub(crate) fn plan(&self) -> Value {
        let (_, document) = self.run("video:transcode", &[]);
        output_of(&document, "plan").clone()
    }

    /// One job of `video:transcode`.
    pub(crate) fn transcode(&self) -> Job {
        let (cost, document) = self.run("video:transcode", &[]);
        self.job(cost, &document)
    }

    /// The same, in chunks of at least so many seconds.
    pub(crate) fn in_chunks_of(&self, seconds: u32) -> Job {
        let workflow = self.home.join("chunked.yaml");
        let chunks =
            format!(r#"with: {{probe: "${{{{ steps.probe.output }}}}", chunk_s: {seconds}}}"#);
        let text = TRANSCODE.replace(USUAL_CHUNKS, &chunks);
        assert_ne!(
            text, TRANSCODE,
            "the workflow says how its chunks are planned"
        );
        std::fs::write(&workflow, text).expect("a workflow file");
        let workflow = workflow.to_str().expect("a path in UTF-8");
        let (cost, document) = self.run(workflow, &[]);
        self.job(cost, &document)
    }

    fn run(&self, workflow: &str, more: &[&str]) -> (Cost, Value) {
        self.jobs.set(self.jobs.get() + 1);
        let place = self.place();
        let path = |name: &str| place.join(name).display().to_string();
        let (data, out) = (path("data"), path("out"));
        let clip = self.clip.to_str().expect("a path in UTF-8");
        let arguments = [
            "run",
            workflow,
            clip,
            "-o",
            "json",
            "--data-dir",
            &data,
            "--out",
            &out,
        ];
        let (cost, stdout) = measured(Path::new(PROGRAM), &[&arguments, more].concat());
        (cost, serde_json::from_str(&stdout).expect("a job document"))
    }

    /// The directory of the latest job.
    fn place(&self) -> PathBuf {
        self.home.join(format!("job{}", self.jobs.get()))
    }

    fn job(&self, cost: Cost, document: &Value) -> Job {
        let out = self.place().join("out");
        let encodes: Vec<&Value> = steps(document).filter(|step| is_encode(step)).collect();
        let rss = encodes.iter().flat_map(|step| attempts(step));
        Job {
            cost,
            validate_cpu_s: steps(document)
                .filter(|step| step["id"] == "validate")
                .flat_map(attempts)
                .filter_map(|attempt| attempt["cpu_s"].as_f64())
                .sum(),
            encode_rss_bytes: rss
                .filter_map(|attempt| attempt["max_rss_bytes"].as_u64())
                .max()
                .expect("an encode was measured"),
            idle_s: cost.wall_s - busy_s(document),
            made_bytes: size_of(&out),
            out,
            chunks: encodes.len(),
        }
    }
}

fn steps(document: &Value) -> impl Iterator<Item = &Value> {
    document["steps"].as_array().expect("steps").iter()
}

fn attempts(step: &Value) -> impl Iterator<Item = &Value> {
    step["attempts"].as_array().expect("attempts").iter()
}

fn is_encode(step: &Value) -> bool {
    step["activity"] == "video.encode@1"
}

fn output_of<'a>(document: &'a Value, id: &str) -> &'a Value {
    let step = steps(document).find(|step| step["id"] == id);
    &step.expect("the step is there")["output"]
}

/// Seconds in which at least one step ran.
fn busy_s(document: &Value) -> f64 {
    let time = |value: &Value| -> DateTime<Utc> {
        value.as_str().expect("a time").parse().expect("a time")
    };
    let mut spans: Vec<(DateTime<Utc>, DateTime<Utc>)> = steps(document)
        .flat_map(attempts)
        .map(|attempt| (time(&attempt["started_at"]), time(&attempt["ended_at"])))
        .collect();
    spans.sort();
    let mut busy = chrono::TimeDelta::zero();
    let mut until = DateTime::<Utc>::MIN_UTC;
    for (from, to) in spans {
        busy += (to - from.max(until)).max(chrono::TimeDelta::zero());
        until = until.max(to);
    }
    busy.as_seconds_f64()
}

/// Bytes of all files below a directory.
pub(crate) fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    entries
        .map(|entry| match entry.metadata().expect("a file") {
            meta if meta.is_dir() => size_of(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}
