//! `video:full` on real clips, judged by ffmpeg, Chromium and a second process.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser;
use crate::ffmpeg;
use crate::product::{self, Workplace};
use crate::repository::{read, root};

/// How long a process may take to begin with a step.
const AT_WORK: Duration = Duration::from_secs(60);

/// A flash and a beep at 1.000 s and at 7.000 s.
fn flash_and_beep(place: &Workplace) -> PathBuf {
    let path = place.path().join("flash.mov");
    ffmpeg::flash_and_beep(&path);
    path
}

#[test]
fn a_package_that_breaks_a_rule_is_not_published_and_what_was_stays() {
    let place = Workplace::new();
    let clip = place.path().join("film.mp4");
    std::fs::copy(product::light_clip(), &clip).expect("a copy");
    let text = read(&root().join("workflows/definitions/video-transcode.yaml"));
    // The set is held to a source that ends five seconds later.
    let (own, later) = (
        "steps.plan.output.end_ns }}\"\n    timeout: {attempt: 6h",
        " + 5000000000",
    );
    let place_of = text
        .rfind(own)
        .expect("the duration of the step `validate`");
    let mut broken = text;
    broken.insert_str(place_of + "steps.plan.output.end_ns".len(), later);
    let definition = place.path().join("broken.yaml");
    std::fs::write(&definition, broken).expect("a definition");
    let refused = || {
        let mut run = place.run(definition.to_str().expect("UTF-8"), &clip);
        run.arg("--new");
        let output = product::finish(product::spawn(run));
        assert_eq!(output.status.code(), Some(1));
        let job: Value = serde_json::from_slice(&output.stdout).expect("a job");
        assert_eq!(job["error"]["step"], "validate");
        assert_eq!(job["error"]["code"], "package_invalid");
        let said = job["error"]["message"].as_str().expect("a message");
        assert!(said.contains("recorded-duration"), "{said}");
    };
    refused();
    let shown = place.set().join("master.m3u8");
    assert!(!shown.exists(), "readers are led to nothing");
    let is_marked = |generation: &str| place.set().join(generation).join(".published").exists();
    assert!(!is_marked("g1"), "nor does it say so");

    product::succeed(place.run("video:transcode", &clip));
    let good = std::fs::read(&shown).expect("a playlist");
    assert!(is_marked("g2"));
    refused();
    assert_eq!(std::fs::read(&shown).expect("a playlist"), good);
    assert!(
        place.set().join("g3").is_dir(),
        "each job has its own place"
    );
}

#[test]
fn the_demo_clip_becomes_a_set_that_ffmpeg_and_chromium_play() {
    let place = Workplace::new();
    let document = product::succeed(place.run("video:full", &product::demo_clip()));
    assert_eq!(document["status"], "succeeded");
    for step in document["steps"].as_array().expect("steps") {
        let attempt = &step["attempts"][0];
        assert_eq!(attempt["outcome"], "succeeded", "{}", step["id"]);
        assert!(
            attempt["wall_s"].is_number() && attempt["cpu_s"].is_number(),
            "{}",
            step["id"]
        );
    }
    let set = place.set();
    for name in [
        "cover.jpg",
        "preview.webp",
        "master.m3u8",
        "g1/cover.jpg",
        "g1/master.m3u8",
    ] {
        assert!(
            set.join(name).metadata().is_ok_and(|file| file.len() > 0),
            "{name} is there"
        );
    }
    let frames = product::decoded_frames(&set);
    let rungs: Vec<&str> = frames.keys().map(String::as_str).collect();
    assert_eq!(rungs, ["r240_h264", "r360_h264", "r480_h264", "r720_h264"]);
    let source = ffmpeg::decoded_frames(&product::demo_clip());
    assert!(
        frames.values().all(|count| *count == source),
        "{source} frames: {frames:?}"
    );
    let played = browser::play(&set);
    assert_eq!(
        played["levels"].as_array().map(Vec::len),
        Some(4),
        "{played}"
    );
    place.assert_no_survivors();
}

#[test]
fn a_flash_and_a_beep_are_seen_and_heard_when_they_were() {
    let place = Workplace::new();
    let source = flash_and_beep(&place);
    product::succeed(place.run("video:transcode", &source));
    let set = place.set();
    let (frame, packet) = (1.0 / 25.0, 1024.0 / 48000.0);
    for at in [1.0, 7.0] {
        let ffmpeg = ffmpeg::sync(&set.join("master.m3u8"), at);
        assert!(
            (ffmpeg.flash_s - at).abs() <= frame,
            "ffmpeg sees it at {} s",
            ffmpeg.flash_s
        );
        assert!(
            (ffmpeg.beep_s - at).abs() <= packet,
            "ffmpeg hears it at {} s",
            ffmpeg.beep_s
        );
        let chromium = browser::sync(&set, at);
        let number = |name: &str| chromium[name].as_f64().expect("a time");
        assert!(
            (number("flash_s") - at).abs() <= frame,
            "Chromium: {chromium}"
        );
        assert!(
            (number("beep_s") - at).abs() <= packet,
            "Chromium: {chromium}"
        );
    }
}

/// Waits until so many processes have begun with steps.
fn until_at_work(place: &Workplace, processes: usize) {
    let deadline = Instant::now() + AT_WORK;
    loop {
        let events = product::events(place);
        let claimed = events.iter().map(|recorded| &recorded.event);
        let claimed = claimed.filter(|event| event.kind == "step.claimed");
        let sessions: BTreeSet<_> = claimed.map(|event| event.data["worker"].as_str()).collect();
        if sessions.len() == processes {
            return;
        }
        assert!(Instant::now() < deadline, "{sessions:?} are at work");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_processes_share_a_job_and_one_takes_over_from_the_other() {
    let place = Workplace::new();
    let clip = product::small_clip();
    let first = product::spawn(place.run("video:full", &clip));
    until_at_work(&place, 1);
    let second = product::spawn(place.run("video:full", &clip));
    until_at_work(&place, 2);
    let pid = rustix::process::Pid::from_raw(first.id().cast_signed()).expect("a process id");
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).expect("a kill");
    product::finish(first);
    let output = product::finish(second);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    for step in document["steps"].as_array().expect("steps") {
        let outcomes = step["attempts"].as_array().expect("attempts").iter();
        let done = outcomes
            .filter(|attempt| attempt["outcome"] == "succeeded")
            .count();
        assert_eq!(done, 1, "{} succeeds once", step["id"]);
    }
    place.assert_no_survivors();
}

#[test]
fn the_same_command_again_prints_the_result_without_running_anything() {
    let place = Workplace::new();
    let source = flash_and_beep(&place);
    let first = product::succeed(place.run("video:transcode", &source));
    let again = product::succeed(place.run("video:transcode", &source));
    assert_eq!(first["id"], again["id"]);
    assert_eq!(first["steps"], again["steps"]);
}

#[test]
fn a_set_outlives_the_data_directory_that_knew_of_it() {
    let place = Workplace::new();
    let first = product::succeed(place.run("video:cover", &product::demo_clip()));
    let cover = place.set().join("g1/cover.jpg");
    let before = std::fs::metadata(&cover).expect("a cover").modified();
    std::fs::remove_dir_all(place.data()).expect("the data directory can be lost");
    let second = product::succeed(place.run("video:cover", &product::demo_clip()));
    assert_eq!(
        (&first["generation"], &second["generation"]),
        (&1.into(), &2.into())
    );
    let after = std::fs::metadata(&cover).expect("a cover").modified();
    assert_eq!(before.ok(), after.ok(), "the first set was not touched");
}
