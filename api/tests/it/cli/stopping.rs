use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Answer;
use crate::product::{self, Workplace};

/// Starts a job on a small clip and waits until it encodes.
pub(super) fn encoding(place: &Workplace) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = place.run("video:transcode", &product::small_clip());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut notes = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("encode[0]     started") {
        line.clear();
        assert_ne!(
            notes.read_line(&mut line).expect("notes"),
            0,
            "it ended before it encoded"
        );
    }
    (child, notes)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("the process can be signalled");
}

/// The document and the exit code of a job that was stopped.
fn stopped(child: Child, notes: BufReader<std::process::ChildStderr>) -> (Option<i32>, Value) {
    let notes = std::thread::spawn(move || {
        notes
            .lines()
            .map_while(Result::ok)
            .collect::<Vec<_>>()
            .join("\n")
    });
    let output = product::finish(child);
    let notes = notes.join().expect("a reader");
    assert!(
        notes.contains("the same command"),
        "it says how to go on: {notes}"
    );
    let document = serde_json::from_slice(&output.stdout).expect("one JSON document");
    (output.status.code(), document)
}

#[test]
fn a_terminated_job_gives_its_steps_back_and_goes_on() {
    let place = Workplace::new();
    let (child, notes) = encoding(&place);
    signal(&child, Signal::TERM);
    let (code, document) = stopped(child, notes);
    assert_eq!(code, Some(143));
    assert_eq!(document["status"], "running");
    let attempts = document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| {
            step["attempts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|attempt| attempt["outcome"].clone())
        });
    assert!(
        attempts
            .clone()
            .all(|outcome| outcome == "succeeded" || outcome == "released")
    );
    place.assert_no_survivors();

    let watch = place.call(&["jobs", "watch", "@last", "--timeout", "300ms", "-o", "json"]);
    assert_eq!(
        (watch.code, &watch.json()["id"]),
        (Some(124), &document["id"])
    );
    assert!(
        watch.stderr.contains("no process works on this job"),
        "{watch:#?}"
    );

    let shown = place.call(&["jobs", "get", "@last"]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
    let alone = "no process works on this job";
    assert!(shown.stderr.contains(alone), "{shown:#?}");
    for plan in ["show", "new", "explain"] {
        let refused = place.call(&["plan", plan, "@last"]);
        refused.assert_error(1, &["is running: there is nothing to retry", alone]);
    }

    let resumed = Answer::of(place.run("video:transcode", &product::small_clip()));
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert_eq!(resumed.json()["id"], document["id"]);
    assert_eq!(resumed.json()["round"], 1, "being stopped is no failure");
}

#[test]
fn a_second_signal_does_not_wait() {
    let place = Workplace::new();
    let (child, mut notes) = encoding(&place);
    signal(&child, Signal::INT);
    let mut line = String::new();
    while !line.contains("stopping") {
        line.clear();
        assert_ne!(
            notes.read_line(&mut line).expect("notes"),
            0,
            "it ended before it said so"
        );
    }
    signal(&child, Signal::INT);
    let (code, _) = stopped(child, notes);
    assert_eq!(code, Some(130));
    place.assert_no_survivors();
}
