//! Every built-in activity passes the conformance kit, on what a real job gave it.
//!
//! `TELECINE_ACTIVITIES` names the clip; a small one is made by recipe unless given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};
use telecine::testing::{Check, Report};

use crate::ffmpeg::ffmpeg;
use crate::product::{Workplace, finish};

/// Checks at a time. Much of each is waiting for processes to start and to be gone.
const WORKERS: usize = 4;

#[test]
fn every_built_in_activity_passes_the_conformance_kit() {
    let place = Workplace::new();
    let clip = clip(&place);
    let photo = place.path().join("photo.jpg");
    let picture = ["-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1"];
    ffmpeg(&[&picture[..], &[path(&photo)]].concat());
    let job = run(&place, &clip);
    let checks = inputs(&job).into_iter().map(|(activity, input)| {
        let source = match activity {
            "image.thumbnail" => &photo,
            _ => &clip,
        };
        let check = Check::new(env!("CARGO_BIN_EXE_telecine"), activity);
        let check = check.input(input).media(place.out());
        // x264 decides about frames by those that it has seen.
        let check = match activity {
            "video.encode" => check.bytes_may_differ(),
            _ => check,
        };
        if takes_source(activity) {
            check.source(source)
        } else {
            check
        }
    });
    let reports = in_parallel(checks.collect());
    let text: String = reports.iter().map(ToString::to_string).collect();
    println!("{text}");
    assert!(reports.iter().all(Report::is_clean), "\n{text}");
    let tried: Vec<_> = reports.iter().map(|report| &*report.activity).collect();
    for installed in installed(&place) {
        let checked = tried
            .iter()
            .any(|title| title.starts_with(&format!("{installed}@")));
        assert!(checked, "say what {installed} is to be checked with");
    }
}

/// Eight seconds, so that there is a second segment, with sound.
fn clip(place: &Workplace) -> PathBuf {
    if let Some(named) = std::env::var_os("TELECINE_ACTIVITIES") {
        return named.into();
    }
    let clip = place.path().join("clip.mp4");
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=10:d=8"];
    let sound = ["-f", "lavfi", "-i", "sine=d=8", "-c:v", "libx264"];
    let codecs = ["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    ffmpeg(&[&picture[..], &sound, &codecs, &[path(&clip)]].concat());
    clip
}

/// What `video:full` made of the clip, which lies in the store of results from then on.
fn run(place: &Workplace, clip: &Path) -> Value {
    let mut command = place.run("video:full", clip);
    let output = finish(
        command
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a job"),
    );
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a job as JSON")
}

/// Activities, and what the job or another workflow gives them.
fn inputs(job: &Value) -> Vec<(&'static str, Value)> {
    let made = outputs(job);
    let (probe, plan, allocation) = (&made["probe"], &made["plan"], &made["allocate"]);
    let prefix = &allocation["prefix"];
    let chunks: Vec<_> = made
        .iter()
        .filter(|(id, _)| id.starts_with("encode["))
        .collect();
    let chunks: Vec<_> = chunks.into_iter().map(|(_, output)| output).collect();
    let seeks = &probe["chunkable"];
    let pictures = json!({"video": probe["video"], "exact_seeks": seeks, "prefix": prefix});
    let preview = json!({"start_s": 0, "duration_s": 1, "width": 64, "fps": 5, "format": "webp"});
    let audio = json!({
        "tracks": probe["audio"], "segment_starts_ns": plan["segment_starts_ns"],
        "end_ns": plan["end_ns"], "prefix": prefix,
    });
    let encode = json!({
        "chunk": plan["chunks"][0], "rungs": plan["rungs"], "timescale": plan["timescale"],
        "video": plan["video"], "prefix": prefix,
    });
    let validate = json!({
        "set": made["package"], "chunks": chunks, "audio": made["audio"],
        "video": plan["video"], "duration_ns": plan["end_ns"],
    });
    let publish = json!({
        "allocation": allocation, "set": made["package"], "cover": made["cover"],
        "preview": made["preview"], "sprites": made["sprites"],
    });
    vec![
        ("video.encode", encode),
        ("audio.encode", audio),
        ("video.preview", with(&pictures, "options", preview)),
        ("video.cover", with(&pictures, "at_s", Value::Null)),
        (
            "video.sprites",
            with(
                &with(&pictures, "interval_s", json!(1)),
                "short_edge",
                json!(48),
            ),
        ),
        ("media.validate", validate),
        ("media.publish", publish),
        (
            "video.package_hls",
            json!({"prefix": prefix, "chunks": chunks, "audio": made["audio"]}),
        ),
        ("media.probe", json!({})),
        (
            "image.thumbnail",
            json!({"outputs": [{"variant": "small", "width": 32}]}),
        ),
        ("video.plan_chunks", json!({"probe": probe})),
        (
            "media.allocate",
            json!({"hash": null, "sha256": probe["sha256"]}),
        ),
    ]
}

fn with(input: &Value, name: &str, value: Value) -> Value {
    let mut input = input.clone();
    input[name] = value;
    input
}

/// What each step made, in order.
fn outputs(job: &Value) -> BTreeMap<String, Value> {
    let steps = job["steps"].as_array().expect("steps").iter();
    let output = |step: &Value| {
        let id = step["id"].as_str().expect("an id").to_owned();
        (id, step["output"].clone())
    };
    steps.map(output).collect()
}

/// Those that work on the source itself.
fn takes_source(activity: &str) -> bool {
    let others = [
        "media.allocate",
        "media.publish",
        "media.validate",
        "video.package_hls",
    ];
    activity != "video.plan_chunks" && !others.contains(&activity)
}

/// Names of all activities that come with telecine.
fn installed(place: &Workplace) -> Vec<String> {
    let output = place.telecine(&["activity", "list", "-o", "json"]).output();
    let listed: Value =
        serde_json::from_slice(&output.expect("telecine runs").stdout).expect("JSON");
    let names = listed.as_array().expect("a list").iter();
    names
        .map(|activity| activity["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn in_parallel(checks: Vec<Check>) -> Vec<Report> {
    let queue = Mutex::new(checks.into_iter());
    let work = || {
        let mut reports = Vec::new();
        loop {
            // The lock is not held while the check runs.
            let next = queue.lock().expect("a queue").next();
            match next {
                Some(check) => reports.push(check.run().expect("the activity can be checked")),
                None => return reports,
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let done = workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker"));
        done.flatten().collect()
    })
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a path in UTF-8")
}
