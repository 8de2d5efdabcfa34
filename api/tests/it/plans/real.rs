//! `video:full` of a real clip.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stopped, attempts, does, kill, path, step};
use crate::ffmpeg;
use crate::http::client::Request;
use crate::http::process::Server;
use crate::product::{self, Workplace};

/// Everything before the package step, which nothing has to do again.
const DONE: [&str; 9] = [
    "probe",
    "allocate",
    "cover",
    "preview",
    "sprites",
    "plan",
    "encode[0]",
    "encode[1]",
    "audio",
];

/// The same job in the state in which it stopped, as often as it is wanted: its set and its database are
/// put back. All of them in the same place, because jobs know where their media is.
struct Kept {
    stopped: Stopped,
    copy: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        let stopped = Stopped::new();
        let copy = tempfile::tempdir().expect("a directory");
        for name in ["data", "out"] {
            copy_all(&stopped.place.path().join(name), copy.path());
        }
        Self { stopped, copy }
    }

    /// The job as it stopped.
    fn again(&self) -> &Stopped {
        for name in ["data", "out"] {
            let place = self.stopped.place.path();
            std::fs::remove_dir_all(place.join(name)).expect("what the last one left");
            copy_all(&self.copy.path().join(name), place);
        }
        &self.stopped
    }
}

fn copy_all(directory: &Path, into: &Path) {
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(directory).arg(into);
    assert!(copy.status().expect("cp").success());
}

/// Executes the current plan, in this process, and answers the job.
fn execute(stopped: &Stopped) -> Value {
    let job = stopped.plan(&["execute", stopped.id()]);
    assert_eq!(
        (&job["status"], &job["round"]),
        (&json!("succeeded"), &json!(2))
    );
    job
}

/// Fails unless the set plays to its end and breaks no rule.
fn assert_whole(stopped: &Stopped) {
    let set = stopped.place.set();
    let source = ffmpeg::decoded_frames(&stopped.place.path().join("film.mp4"));
    let frames = product::decoded_frames(&set);
    assert!(
        !frames.is_empty() && frames.values().all(|count| *count == source),
        "{frames:?}"
    );
    let lint = stopped.place.telecine(&["lint", path(&set.join("g1"))]);
    let lint = product::output(lint);
    assert!(
        lint.status.success(),
        "{}",
        String::from_utf8_lossy(&lint.stdout)
    );
}

#[test]
fn what_was_done_is_kept_and_what_is_damaged_is_mended() {
    let kept = Kept::new();
    what_the_set_needs_is_not_left_out(kept.again());
    nothing_is_encoded_again(kept.again());
    what_was_seen_is_not_executed_when_a_segment_is_gone(kept.again());
    one_segment_is_made_again(kept.again());
    a_flipped_byte_is_found(kept.again());
    another_source_is_another_job(kept.again());
    kept.stopped.place.assert_no_survivors();
}

fn what_the_set_needs_is_not_left_out(stopped: &Stopped) {
    let refused = |edit: [&str; 2], told: &str| {
        let command = stopped
            .place
            .telecine(&["plan", "new", stopped.id(), edit[0], edit[1]]);
        let output = product::output(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{edit:?}: {said}");
        assert!(said.contains(told), "{edit:?}: {said}");
    };
    for step in ["probe", "publish"] {
        let skip = format!("{step}=nobody needs it");
        refused(
            ["--skip", &skip],
            "the output of the workflow cannot be made",
        );
    }
    refused(["--set", "package/prefix=videos/ot/other/g1"], "writes to");
    refused(["--set", "publish/allocation/generation=7"], "writes to");
    let other =
        r#"allocate={"hash": "otherother", "generation": 1, "prefix": "videos/ot/otherother/g1"}"#;
    refused(["--supply", other], "where the job writes to");
    let plan = stopped.plan(&["new", stopped.id(), "--skip", "sprites=nobody seeks in it"]);
    let sprites = step(&plan, "sprites");
    let out = (&sprites["action"], &sprites["reason"], &plan["executable"]);
    assert_eq!(
        out,
        (&json!("skip"), &json!("skipped_by_operator"), &json!(true))
    );
}

fn nothing_is_encoded_again(stopped: &Stopped) {
    let before = stopped.files();
    let plan = stopped.plan(&["show", stopped.id()]);
    let mut expected: BTreeSet<_> = DONE.map(|id| format!("reuse {id} succeeded")).into();
    expected.extend([
        "rerun package failed_retryable".to_owned(),
        "rerun validate never_ran".to_owned(),
        "rerun publish never_ran".to_owned(),
    ]);
    assert_eq!(BTreeSet::from_iter(does(&plan)), expected);
    assert_eq!(plan["executable"], true);
    assert!(
        plan["summary"]["saved"]["wall_s"].as_f64() > Some(0.5),
        "{}",
        plan["summary"]
    );
    assert_eq!(plan["verified"]["how"], "heads");
    for id in DONE {
        assert_proved(step(&plan, id));
    }
    let job = execute(stopped);
    for id in DONE {
        assert_eq!(attempts(&job, id), 1, "{id}");
    }
    assert_eq!(attempts(&job, "package"), 2);
    let after = stopped.files();
    let untouched = before
        .iter()
        .all(|(name, bytes)| after.get(name) == Some(bytes));
    assert!(
        untouched,
        "a second attempt wrote over what the first had made"
    );
    assert_whole(stopped);
}

/// Steps that no other job can take: their activity names no tools.
const WITHOUT_KEY: [&str; 2] = ["allocate", "plan"];

/// Steps that leave nothing in the store.
const WITHOUT_OBJECTS: [&str; 3] = ["probe", "allocate", "plan"];

/// A step that is kept has the key that an equal one would have, and everything that it left in the store
/// was looked at.
fn assert_proved(step: &Value) {
    let id = step["id"].as_str().expect("an id");
    let proof = &step["proof"];
    let key = proof["cache_key"].as_str();
    assert_eq!(key.is_none(), WITHOUT_KEY.contains(&id), "{step:#}");
    if let Some(key) = key {
        let digest = key.strip_prefix("sha256:").expect("a digest");
        let is_hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(digest.len() == 64 && is_hex, "{key}");
    }
    let artifacts = proof["artifacts"].as_array().expect("artifacts");
    let is_empty = WITHOUT_OBJECTS.contains(&id);
    assert_eq!(artifacts.is_empty(), is_empty, "{step:#}");
    for artifact in artifacts {
        assert_eq!(artifact["verified"], true, "{artifact:#}");
    }
}

/// Of one who looked, and executes what was seen a little later: at a server, and in a process.
fn what_was_seen_is_not_executed_when_a_segment_is_gone(stopped: &Stopped) {
    let place = &stopped.place;
    let server = Server::start(Server::command(place, "server"));
    let of_job = |rest: &str| format!("/api/jobs/{}{rest}", stopped.id());
    let seen = Request::get(&of_job("/retry-plan")).send(server.address);
    let (tag, seen) = (seen.headers["etag"].clone(), seen.json());
    let id = seen["id"].as_str().expect("an id");
    std::fs::remove_file(stopped.segment("r240_h264", 3)).expect("a segment to lose");

    let execute = || {
        let path = of_job(&format!("/retry-plans/{id}/execute"));
        Request::new("POST", &path)
            .header("if-match", &tag)
            .send(server.address)
    };
    let first = execute().assert_problem(412, "plan_changed");
    let now = &first["plan"];
    assert_ne!(now["digest"], seen["digest"]);
    assert_eq!(now["summary"]["resume"], 1, "{first:#}");
    let second = execute().assert_problem(412, "plan_superseded");
    assert_eq!(second["plan"]["digest"], now["digest"], "{second:#}");
    drop(server);

    std::fs::remove_file(stopped.segment("r360_h264", 3)).expect("another segment to lose");
    let (id, digest) = (&now["id"], &now["digest"]);
    let [id, digest] = [id, digest].map(|it| it.as_str().expect("a text"));
    let arguments = [
        "plan",
        "execute",
        stopped.id(),
        "--plan",
        id,
        "--digest",
        digest,
        "-o",
        "json",
    ];
    let output = product::output(place.telecine(&arguments));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the plan is not the one any more that was meant"),
        "{said}"
    );
    let now: Value = serde_json::from_slice(&output.stdout).expect("a plan");
    assert_ne!(now["digest"], digest);
    let encode = step(&now, "encode[1]");
    assert_eq!(
        (&encode["action"], &encode["reason"]),
        (&json!("resume"), &json!("artifact_missing"))
    );
    let job = product::succeed(place.telecine(&["jobs", "get", stopped.id(), "-o", "json"]));
    assert_eq!(
        (&job["status"], &job["round"]),
        (&json!("failed"), &json!(1)),
        "nothing was done"
    );
}

/// Names of the files that are there now and were not before.
fn new_segments(stopped: &Stopped, before: &BTreeSet<String>) -> Vec<String> {
    let after = stopped.files();
    let made = after.into_keys().filter(|name| !before.contains(name));
    let segments = made.filter(|name| name.ends_with(".m4s"));
    // Without the tag of the attempt.
    let plain = segments.map(|name| name.rsplit_once('_').expect("a tag").0.to_owned());
    plain.collect()
}

fn one_segment_is_made_again(stopped: &Stopped) {
    let before: BTreeSet<String> = stopped.files().into_keys().collect();
    std::fs::remove_file(stopped.segment("r240_h264", 3)).expect("a segment to lose");
    let plan = stopped.plan(&["new", stopped.id()]);
    let mut kept = BTreeSet::from_iter(does(&plan));
    kept.retain(|line| !line.starts_with("reuse "));
    let others = [
        "resume encode[1] artifact_missing",
        "rerun package upstream_changed",
        "rerun validate never_ran",
        "rerun publish never_ran",
    ];
    assert_eq!(kept, others.map(str::to_owned).into());
    let job = execute(stopped);
    assert_eq!(
        (attempts(&job, "encode[0]"), attempts(&job, "encode[1]")),
        (1, 2)
    );
    assert_eq!(
        new_segments(stopped, &before),
        ["video/r240_h264/seg_00003"],
        "what was lost, and nothing else"
    );
    assert_whole(stopped);
}

fn a_flipped_byte_is_found(stopped: &Stopped) {
    let before: BTreeSet<String> = stopped.files().into_keys().collect();
    let segment = stopped.segment("r360_h264", 1);
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("the same segment, nearly");
    // Its size is right, but a file that was written into is another one.
    for how in ["heads", "full"] {
        let plan = stopped.plan(&["show", stopped.id(), "--verify", how]);
        let encode = step(&plan, "encode[0]");
        let does = (&encode["action"], &encode["reason"]);
        assert_eq!(
            does,
            (&json!("resume"), &json!("artifact_corrupt")),
            "{how}"
        );
    }
    execute(stopped);
    assert_eq!(
        new_segments(stopped, &before),
        ["video/r360_h264/seg_00001"]
    );
    assert_whole(stopped);
}

fn another_source_is_another_job(stopped: &Stopped) {
    let film = stopped.place.path().join("film.mp4");
    std::fs::remove_file(&film).expect("the source");
    ffmpeg::flash_and_beep(&film.with_extension("mov"));
    std::fs::rename(film.with_extension("mov"), &film).expect("another source");
    let plan = stopped.plan(&["new", stopped.id()]);
    let probe = step(&plan, "probe");
    assert_eq!(
        (&probe["action"], &probe["reason"]),
        (&json!("rerun"), &json!("input_changed"))
    );
    let steps = plan["steps"].as_array().expect("steps");
    let runs = |step: &Value| step["action"] == "rerun";
    assert!(steps.iter().all(runs), "{:#?}", does(&plan));
    let job = execute(stopped);
    assert_eq!(job["id"], stopped.job["id"]);
    let hash = job["hash"].as_str().expect("a hash");
    assert_ne!(stopped.job["hash"], hash, "the SHA-256 of the other source");
    let set = stopped
        .place
        .out()
        .join("videos")
        .join(&hash[..2])
        .join(hash);
    let frames = product::decoded_frames(&set);
    let source = ffmpeg::decoded_frames(&film);
    assert!(!frames.is_empty() && frames.values().all(|count| *count == source));
}

/// How long an encode may take to its first checkpoint.
const CHECKPOINT: Duration = Duration::from_secs(60);

#[test]
fn a_job_killed_in_an_encode_and_then_cancelled_goes_on_behind_its_last_segment() {
    let place = Workplace::new();
    let clip = product::small_clip();
    let child = product::spawn(place.run("video:transcode", &clip));
    let deadline = Instant::now() + CHECKPOINT;
    while checkpoints(&place) == 0 {
        assert!(Instant::now() < deadline, "no checkpoint was saved");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(&child);
    product::finish(child);
    place.assert_no_survivors();
    product::succeed(place.telecine(&["jobs", "cancel", "@last", "-o", "json"]));
    let plan = product::succeed(place.telecine(&["plan", "show", "@last", "-o", "json"]));
    let encode = step(&plan, "encode[0]");
    let does = (&encode["action"], &encode["reason"]);
    assert_eq!(does, (&json!("resume"), &json!("cancelled")), "{encode:#}");
    assert_eq!(plan["verified"]["how"], "heads", "whoever cancelled looked");
    let done = encode["checkpoint"]["covers_s"][1]
        .as_f64()
        .expect("a second");
    assert!((5.0..20.0).contains(&done), "{encode:#}");
    let job = product::succeed(place.telecine(&["plan", "execute", "@last", "-o", "json"]));
    assert_eq!(job["status"], "succeeded");
    let attempts = step(&job, "encode[0]")["attempts"]
        .as_array()
        .expect("attempts");
    let last = attempts.last().expect("an attempt");
    assert_eq!(last["resumed_from"], encode["checkpoint"]["seq"]);
}

/// Checkpoints of the encode so far.
fn checkpoints(place: &Workplace) -> usize {
    if !place.data().join("telecine.db").exists() {
        return 0;
    }
    let events = product::output(place.telecine(&["jobs", "events", "@last", "-o", "jsonl"]));
    let text = String::from_utf8_lossy(&events.stdout).into_owned();
    let events = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"));
    let is_checkpoint =
        |event: &Value| event["kind"] == "step.checkpoint" && event["step"] == "encode[0]";
    events.filter(is_checkpoint).count()
}
