//! Retry plans of real jobs: what they say, and that executing them does that and nothing else.

mod definition;
mod http;
mod many;
mod real;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::product::{self, Workplace};
use crate::repository::{read, root};

/// How long a job may take to reserve its place.
const RESERVED: Duration = Duration::from_secs(60);

/// `video:full` with two chunks in place of one, so that one of them can be damaged, and with a package
/// step that is tried once, so that its failure does not wait for three.
fn definition(place: &Workplace) -> PathBuf {
    let text = read(&root().join("workflows/definitions/video-full.yaml"));
    let chunks = "{probe: \"${{ steps.probe.output }}\"";
    assert!(text.contains(&format!("{chunks}}}")), "the step `plan`");
    let text = text.replace(chunks, &format!("{chunks}, chunk_s: 12"));
    let package = "    activity: video.package_hls@1\n";
    assert!(text.contains(package), "the step `package`");
    let text = text.replace(
        package,
        &format!("{package}    retry: {{max_attempts: 1}}\n"),
    );
    let file = place.path().join("video-full.yaml");
    std::fs::write(&file, text).expect("a definition");
    file
}

/// A small clip where a user might have it.
fn clip(place: &Workplace) -> PathBuf {
    let clip = place.path().join("film.mp4");
    std::fs::copy(product::light_clip(), &clip).expect("a copy");
    clip
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A job of `video:full` that failed when it was to write its playlist: all else is done, and what was in
/// the way is gone.
struct Stopped {
    place: Workplace,
    job: Value,
}

impl Stopped {
    fn new() -> Self {
        let place = Workplace::new();
        let clip = clip(&place);
        let child = product::spawn(run(&place, &clip));
        let obstacle = obstruct(&place, child.id());
        let output = product::finish(child);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        std::fs::remove_dir(obstacle).expect("the obstacle is still there");
        let job: Value = serde_json::from_slice(&output.stdout).expect("a job");
        assert_eq!(job["error"]["step"], "package", "{}", job["error"]);
        Self { place, job }
    }

    fn id(&self) -> &str {
        self.job["id"].as_str().expect("an id")
    }

    /// `telecine plan ..` that has to do what it is asked.
    fn plan(&self, arguments: &[&str]) -> Value {
        let command = [&["plan"], arguments, &["-o", "json"]].concat();
        product::succeed(self.place.telecine(&command))
    }

    /// The files of the generation with their bytes.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let generation = self.place.set().join("g1");
        let mut files = BTreeMap::new();
        let mut left = vec![generation.clone()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let name = path.strip_prefix(&generation).expect("it is below");
                let bytes = std::fs::read(&path).expect("a file");
                files.insert(name.display().to_string(), bytes);
            }
        }
        files
    }

    /// A segment of a rendition, by its number.
    fn segment(&self, rendition: &str, number: u32) -> PathBuf {
        let directory = self.place.set().join("g1/video").join(rendition);
        let begins = format!("seg_{number:05}_");
        let entries = std::fs::read_dir(directory).expect("a rendition").flatten();
        let mut paths = entries.map(|entry| entry.path());
        let found = paths.find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&begins))
        });
        found.expect("a segment")
    }
}

/// `telecine run` of the definition, with its result as JSON.
fn run(place: &Workplace, clip: &Path) -> Command {
    place.run(path(&definition(place)), clip)
}

/// Puts a directory where the playlist is to go, as soon as the job has a place to write to.
fn obstruct(place: &Workplace, job: u32) -> PathBuf {
    let deadline = Instant::now() + RESERVED;
    loop {
        if let Some(generation) = reserved(&place.out().join("videos"), 3) {
            let obstacle = generation.join("master.m3u8");
            std::fs::create_dir(&obstacle).expect("nothing is there yet");
            return obstacle;
        }
        assert!(Instant::now() < deadline, "job {job} reserves nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is so many directories deeper.
fn reserved(directory: &Path, depth: u32) -> Option<PathBuf> {
    if depth == 0 {
        return Some(directory.to_owned());
    }
    let mut entries = std::fs::read_dir(directory).ok()?.flatten();
    reserved(&entries.next()?.path(), depth - 1)
}

/// A step of a job or of a plan.
fn step<'a>(document: &'a Value, id: &str) -> &'a Value {
    let mut steps = document["steps"].as_array().expect("steps").iter();
    let found = steps.find(|step| step["id"] == id);
    found.unwrap_or_else(|| panic!("no step {id}: {document:#}"))
}

/// What each step of a plan does: `rerun package`.
fn does(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps").iter();
    let text = |step: &Value, name: &str| step[name].as_str().expect("a text").to_owned();
    steps
        .map(|step| {
            format!(
                "{} {} {}",
                text(step, "action"),
                text(step, "id"),
                text(step, "reason")
            )
        })
        .collect()
}

/// How many attempts a step of a job has.
fn attempts(job: &Value, id: &str) -> usize {
    step(job, id)["attempts"]
        .as_array()
        .expect("attempts")
        .len()
}

/// Kills a process with its children.
fn kill(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process id");
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).expect("a kill");
}
