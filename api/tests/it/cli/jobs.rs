use serde_json::Value;

use super::Answer;
use crate::product::{self, Workplace};

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("a job id").to_owned()
}

#[test]
fn looking_for_jobs_makes_nothing() {
    let place = Workplace::new();
    let list = place.call(&["jobs", "list", "-o", "json"]);
    assert_eq!((list.code, list.json()), (Some(0), serde_json::json!([])));
    place
        .call(&["jobs", "get", "@last"])
        .assert_error(3, &["there are no jobs"]);
    assert!(!place.data().exists());
}

#[test]
fn a_job_that_fails_for_good_is_explained_and_not_repeated() {
    let place = Workplace::new();
    place.write("notes.mp4", "these are words, not pictures\n");
    let first = place.look("notes.mp4", &[]);
    assert_eq!(first.code, Some(1), "{first:#?}");
    let document = first.json();
    assert_eq!(document["status"], "failed");
    assert_eq!(document["error"]["class"], "input");
    assert_eq!(document["error"]["step"], "probe");
    assert_eq!(document["retry_plan"]["executable"], false);
    assert_eq!(document["retry_plan"]["steps"][0]["action"], "blocked");
    assert_eq!(
        document["retry_plan"]["steps"][0]["reason"],
        "failed_permanent"
    );

    assert_eq!(document["progress"]["percent"], 0.0);

    let again = place.look("notes.mp4", &[]);
    assert_eq!(again.code, Some(1), "{again:#?}");
    assert_eq!(again.json()["id"], document["id"]);
    assert_eq!(
        again.json()["steps"],
        document["steps"],
        "it is printed, not run"
    );
    let shown = place.call(&["jobs", "get", "@last"]);
    let code = first.json()["error"]["code"].as_str().unwrap().to_owned();
    assert!(shown.stdout.contains(&code), "{shown:#?}");
    assert!(shown.stdout.contains("failed_permanent"), "{shown:#?}");
}

#[test]
fn a_job_that_succeeded_is_printed_and_not_repeated() {
    let place = Workplace::new();
    let clip = product::demo_clip();
    let clip = clip.to_str().unwrap();
    let first = place.look(clip, &[]);
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert_eq!(
        first.json()["steps"][0]["attempts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(first.json()["progress"]["percent"], 100.0);

    assert_eq!(place.look(clip, &[]).json(), first.json());
    assert_ne!(id(&place.look(clip, &["--set", "note=other"])), id(&first));
    let new = place.look(clip, &["--new"]);
    assert_ne!(id(&new), id(&first));
    assert_eq!(
        id(&place.look(clip, &[])),
        id(&new),
        "the latest one counts"
    );
}

#[test]
fn the_input_may_name_the_source() {
    let place = Workplace::new();
    place.write("look.yaml", super::LOOK);
    std::fs::copy(product::demo_clip(), place.path().join("a clip.mp4")).unwrap();
    place.write(
        "input.json",
        r#"{"source": "a clip.mp4", "note": "from a file"}"#,
    );
    let answer = place.call(&["run", "look.yaml", "--input", "input.json", "-o", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:#?}");
    assert_eq!(answer.json()["source"], "a clip.mp4");
}

#[test]
fn jsonl_prints_the_history_and_then_the_job() {
    let place = Workplace::new();
    place.write("look.yaml", super::LOOK);
    let clip = product::demo_clip();
    let answer = place.call(&["run", "look.yaml", clip.to_str().unwrap(), "-o", "jsonl"]);
    let lines: Vec<Value> = answer
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (document, events) = lines.split_last().unwrap();
    assert_eq!(document["status"], "succeeded");
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "run.submitted",
            "step.ready",
            "run.started",
            "step.claimed",
            "step.succeeded",
            "run.succeeded"
        ]
    );
}

#[test]
fn progress_is_a_line_per_transition_where_there_is_no_terminal() {
    let place = Workplace::new();
    let answer = place.look(product::demo_clip().to_str().unwrap(), &[]);
    let succeeded = answer
        .stderr
        .lines()
        .find(|line| line.contains("probe"))
        .unwrap();
    assert!(
        answer
            .stderr
            .contains("  probe         succeeded  (attempt 1, "),
        "{answer:#?}"
    );
    assert!(!succeeded.contains('\u{1b}'), "{answer:#?}");
}

#[test]
fn an_id_that_a_script_left_empty_cancels_nothing() {
    let place = Workplace::new();
    place.write("one.mp4", "words");
    place.look("one.mp4", &[]);
    place
        .call(&["jobs", "cancel", ""])
        .assert_error(2, &["every job"]);
    let kept = place.call(&["jobs", "get", "@last", "-o", "json"]).json();
    assert_eq!(kept["status"], "failed");
}

#[test]
fn an_output_that_cannot_be_made_says_what_to_correct() {
    let place = Workplace::new();
    let output = "output: {rest: '${{ 1 / (size(input.note) - 4) }}'}";
    let definition = super::LOOK.lines().map(|line| match line {
        line if line.starts_with("output:") => output,
        line => line,
    });
    place.write("bad.yaml", &definition.collect::<Vec<_>>().join("\n"));
    let clip = product::demo_clip();
    let failed = place.call(&["run", "bad.yaml", clip.to_str().unwrap()]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    let said = "correct the output of the definition or the input";
    assert!(failed.stdout.contains(said), "{failed:#?}");
}

#[test]
fn ids_may_be_shortened_as_long_as_they_are_unique() {
    let place = Workplace::new();
    let jobs: Vec<String> = ["one.mp4", "two.mp4"]
        .map(|name| {
            place.write(name, "words");
            id(&place.look(name, &[]))
        })
        .into();
    let get = |id: &str| place.call(&["jobs", "get", id, "-o", "json"]);

    for job in &jobs {
        assert_eq!(id(&get(job)), *job);
        assert_eq!(id(&get(&job[..25])), *job);
        assert_eq!(id(&get(job.strip_prefix("job_").unwrap())), *job);
    }
    assert_eq!(id(&get("@last")), jobs[1]);
    get("job_0").assert_error(2, &[&jobs[0], &jobs[1]]);
    for nothing in ["", "job_"] {
        get(nothing).assert_error(2, &["every job"]);
    }
    get("job_zzz").assert_error(3, &["there is no job job_zzz"]);

    let list = place.call(&["jobs", "list", "--limit", "1", "-o", "json"]);
    assert_eq!(list.json()[0]["id"], *jobs[1]);
    assert!(
        list.stderr.contains("--limit"),
        "it says that there are more: {list:#?}"
    );
    let failed = place.call(&["jobs", "list", "--status", "failed", "-o", "jsonl"]);
    assert_eq!(failed.stdout.lines().count(), 2, "{failed:#?}");
    let none = place.call(&["jobs", "list", "--type", "video:full", "-o", "jsonl"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    let watched = place.call(&["jobs", "watch", "@last", "-o", "json"]);
    assert_eq!((watched.code, id(&watched)), (Some(1), jobs[1].clone()));
}
