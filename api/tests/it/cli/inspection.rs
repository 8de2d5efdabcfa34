//! Looking at workflows before and while they run.

use serde_json::{Value, json};

use crate::product::{self, Workplace};

/// A step that the input skips, and a list that is known from the start.
const FORKED: &str = "
workflow: test:forked
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}, twice: {type: boolean, default: false}}
steps:
  probe:
    activity: media.probe@1
    with: {source: '${{ input.source }}'}
  again:
    activity: media.probe@1
    when: input.twice
    needs: [probe]
    with: {source: '${{ input.source }}'}
  each:
    activity: media.probe@1
    for_each: '[input.source, input.source]'
    when: steps.probe.output.video != null
    needs: {again: any}
    on_failure: continue
    with: {source: '${{ each }}'}
output: {}
";

#[test]
fn a_plan_foretells_the_job_and_writes_nothing() {
    let place = Workplace::new();
    place.write("forked.yaml", FORKED);
    let clip = product::demo_clip();
    let request = ["forked.yaml", clip.to_str().unwrap(), "-o", "json"];
    let plan = || place.call(&[&["workflow", "plan"], &request[..]].concat());
    let before = plan();
    assert_eq!(before.code, Some(0), "{before:#?}");
    assert!(!place.data().exists() && !place.out().exists());
    let before = before.json();
    assert_eq!(before["input"]["twice"], false, "defaults are filled in");
    assert_eq!(
        (&before["then"], &before["job"]),
        (&json!("submit"), &Value::Null)
    );
    let steps = before["steps"].as_array().expect("steps");
    let step = |name| {
        steps
            .iter()
            .find(|step| step["name"] == name)
            .expect("a step")
    };
    assert_eq!(step("again")["skipped"], "its condition is false");
    assert_eq!(step("probe")["with"], json!({"source": "sintel-20s.mp4"}));
    assert_eq!(
        step("each")["when"]["after"]["steps"],
        json!(["probe"]),
        "known later"
    );
    assert_eq!(
        step("each")["for_each"]["value"].as_array().map(Vec::len),
        Some(2)
    );

    let job = place.call(&[&["run"], &request[..]].concat());
    assert_eq!(job.code, Some(0), "{job:#?}");
    let after = plan().json();
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(
        (&after["then"], &after["job"]),
        (&json!("print"), &job.json()["id"])
    );
    let status = |name| {
        let job = job.json();
        let steps = job["steps"].as_array().expect("steps").clone();
        let found = steps.into_iter().find(|step| step["id"] == name);
        found.expect("a step")["status"].clone()
    };
    assert_eq!(
        (status("again"), status("each[1]")),
        (json!("skipped"), json!("succeeded"))
    );
}

#[test]
fn a_plan_of_a_bad_request_says_what_run_would_say() {
    let place = Workplace::new();
    place.write("forked.yaml", FORKED);
    place
        .call(&["workflow", "plan", "forked.yaml"])
        .assert_error(2, &["needs a source"]);
    place
        .call(&["workflow", "plan", "forked.yaml", "nothing.mp4"])
        .assert_error(3, &["there is no file nothing.mp4"]);
}

#[test]
fn a_graph_shows_the_states_of_a_job() {
    let place = Workplace::new();
    place.write("forked.yaml", FORKED);
    let clip = product::demo_clip();
    let run = place.call(&["run", "forked.yaml", clip.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let graph = |more: &[&str]| place.call(&[&["workflow", "graph"], more].concat());

    let picture = graph(&["--job", "@last", "--format", "svg"]);
    assert_eq!(picture.code, Some(0), "{picture:#?}");
    for shown in [
        "succeeded, 2 of 2",
        ">skipped<",
        "when input.twice",
        "on failure continue",
    ] {
        assert!(picture.stdout.contains(shown), "{shown} in {picture:#?}");
    }
    assert_eq!(
        graph(&["--job", "@last", "--format", "svg"]).stdout,
        picture.stdout
    );
    let data = graph(&["forked.yaml", "-o", "json"]).json();
    assert_eq!(data["steps"].as_array().map(Vec::len), Some(3));
    assert!(
        data["edges"]
            .as_array()
            .expect("edges")
            .contains(&json!({"from": "again", "to": "each", "any": true})),
        "{data}"
    );
    graph(&["video:full", "--job", "@last"]).assert_error(2, &["did not run this definition"]);
    for workflow in [
        "video:full",
        "video:transcode",
        "video:cover",
        "video:preview",
    ] {
        for format in ["mermaid", "dot", "svg"] {
            let drawn = graph(&[workflow, "--format", format]);
            assert_eq!(drawn.code, Some(0), "{drawn:#?}");
            assert!(drawn.stdout.contains("media.probe@1"), "{drawn:#?}");
        }
    }
}
