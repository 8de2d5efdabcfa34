use std::time::{Duration, Instant};

use serde_json::Value;

use super::Answer;
use super::stopping::encoding;
use crate::product::{self, Workplace};

/// Measured: 0.3 to 1.2 s until the last process is gone; the rest is for a busy machine.
const GONE: Duration = Duration::from_secs(10);

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["kind"].as_str().expect("a kind"))
        .collect()
}

#[test]
fn a_job_is_cancelled_from_another_process_and_goes_on_with_the_same_command() {
    let place = Workplace::new();
    let (child, _notes) = encoding(&place);
    let follow =
        product::spawn(place.telecine(&["jobs", "events", "@last", "--follow", "-o", "jsonl"]));

    let started = Instant::now();
    let cancel = place.call(&[
        "jobs",
        "cancel",
        "@last",
        "--reason",
        "wrong film",
        "-o",
        "json",
    ]);
    assert_eq!(
        (cancel.code, &cancel.json()["status"]),
        (Some(0), &Value::from("cancelled"))
    );
    assert_eq!(product::finish(child).status.code(), Some(4));
    let followed = product::finish(follow);
    place.assert_no_survivors();
    assert!(started.elapsed() < GONE, "{:?}", started.elapsed());

    let followed: Vec<Value> = String::from_utf8(followed.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event per line"))
        .collect();
    assert_eq!(kinds(&followed).last(), Some(&"run.cancelled"));
    let asked = followed
        .iter()
        .find(|event| event["kind"] == "run.cancel_requested")
        .expect("an event says who cancelled");
    assert_eq!(asked["data"]["reason"], "wrong film");
    let by = asked["data"]["by"].as_str().expect("who");
    assert!(by.contains('@') && by.ends_with(" cli"), "{by}");

    let again = place.call(&["jobs", "cancel", "@last"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert!(again.stderr.contains("was cancelled before"), "{again:#?}");

    let resumed = Answer::of(place.run("video:transcode", &product::small_clip()));
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert!(resumed.stderr.contains("is tried again"), "{resumed:#?}");
    assert_eq!(
        (&resumed.json()["id"], &resumed.json()["round"]),
        (&cancel.json()["id"], &Value::from(2))
    );
    place
        .call(&["jobs", "cancel", "@last"])
        .assert_error(1, &["has succeeded already"]);
}

#[test]
fn the_history_of_a_job_is_read_in_parts() {
    let place = Workplace::new();
    let clip = product::demo_clip();
    assert_eq!(place.look(clip.to_str().unwrap(), &[]).code, Some(0));
    let all = place
        .call(&["jobs", "events", "@last", "-o", "json"])
        .json();
    let all = all.as_array().expect("a list");
    let seqs: Vec<_> = all
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(kinds(all).first(), Some(&"run.submitted"));
    assert_eq!(kinds(all).last(), Some(&"run.succeeded"));

    let part = place.call(&[
        "jobs", "events", "@last", "--after", "2", "--limit", "2", "-o", "json",
    ]);
    assert_eq!(part.json(), Value::from(all[2..4].to_vec()));
    let none = place.call(&["jobs", "events", "@last", "--after", "999", "-o", "json"]);
    assert_eq!((none.code, none.json()), (Some(0), serde_json::json!([])));
    let table = place.call(&["jobs", "events", "@last", "--follow"]);
    assert_eq!(
        table.code,
        Some(0),
        "a job that has stopped is not waited for"
    );
    assert_eq!(table.stdout.lines().count(), all.len() + 1, "{table:#?}");
    assert!(table.stdout.contains("step.claimed"), "{table:#?}");
}

#[test]
fn a_job_that_nobody_began_cannot_be_cancelled() {
    let place = Workplace::new();
    place
        .call(&["jobs", "cancel", "@last"])
        .assert_error(3, &["there are no jobs"]);
    assert!(!place.data().exists());
}
