use std::path::PathBuf;

use serde_json::{Value, json};

use super::Answer;
use crate::http::client::Request;
use crate::http::process::Server;
use crate::product::{self, Workplace};

/// A job whose step waits for a person where it fails.
const HOLD: &str = "
workflow: test:hold
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}}
steps:
  probe:
    activity: media.probe@1
    on_failure: hold
    with: {source: '${{ input.source }}'}
  after:
    activity: media.probe@1
    needs: [probe]
    with: {source: '${{ input.source }}'}
output: {sha256: '${{ steps.probe.output.sha256 }}'}
";

/// Runs it, on a machine that has no codecs or on one that has.
fn run(place: &Workplace, lacks: bool) -> Answer {
    run_on(place, lacks, None)
}

fn run_on(place: &Workplace, lacks: bool, database: Option<&str>) -> Answer {
    let definition = place.write("hold.yaml", HOLD);
    let clip = product::demo_clip();
    let arguments = [definition, clip].map(|path: PathBuf| path.display().to_string());
    let [definition, clip] = &arguments;
    let mut command = place.telecine(&["run", definition, clip, "-o", "json"]);
    let registry = place.path().join(format!("registry_{lacks}"));
    command.env("GST_REGISTRY_1_0", registry);
    command.envs(database.map(|url| ("TELECINE_DATABASE_URL", url)));
    if lacks {
        let empty = place.path().join("no-plugins");
        std::fs::create_dir_all(&empty).expect("a directory");
        command.env("GST_PLUGIN_SYSTEM_PATH_1_0", empty);
    }
    Answer::of(command)
}

/// A workplace with a job that is held.
pub(crate) fn held() -> (Workplace, Value) {
    held_on(None)
}

/// The same in a database.
pub(crate) fn held_on(database: Option<&str>) -> (Workplace, Value) {
    let place = Workplace::new();
    let held = run_on(&place, true, database);
    assert_eq!(held.code, Some(1), "{held:#?}");
    assert!(held.stderr.contains("to try again: "), "{held:#?}");
    (place, held.json())
}

fn list(place: &Workplace, status: &str) -> Value {
    place
        .call(&["jobs", "list", "--status", status, "-o", "json"])
        .json()
}

#[test]
fn a_held_job_is_shown_with_what_it_waits_for() {
    let (place, job) = held();
    assert_eq!(job["status"], "held");
    let code = job["error"]["code"].as_str().expect("a code");
    assert_eq!(
        (&job["error"]["step"], code),
        (&json!("probe"), "plugin_missing")
    );
    let steps = &job["steps"];
    assert_eq!(
        (&steps[0]["status"], &steps[1]["status"]),
        (&json!("held"), &json!("pending"))
    );
    let reason = steps[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("waits for a decision: "), "{reason}");
    let plan = &job["retry_plan"];
    assert_eq!(plan["executable"], true);
    let does = plan["steps"].as_array().expect("steps").iter();
    let does: Vec<_> = does
        .map(|step| (&step["action"], &step["reason"]))
        .collect();
    let (rerun, held, never_ran) = (json!("rerun"), json!("held"), json!("never_ran"));
    assert_eq!(does, [(&rerun, &held), (&rerun, &never_ran)]);
    let need = plan["warnings"][0].as_str().expect("what to do first");
    assert!(need.starts_with("set this right first: "), "{need}");

    assert_eq!(list(&place, "held")[0]["id"], job["id"]);
    assert_eq!(list(&place, "failed"), json!([]));
    let shown = place.call(&["jobs", "get", "@last"]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
    for text in ["held", "waits for a decision", "plugin_missing"] {
        assert!(shown.stdout.contains(text), "{text}: {shown:#?}");
    }
    let watched = place.call(&["jobs", "watch", "@last", "-o", "json"]);
    assert_eq!(watched.code, Some(1), "it is not waited for: {watched:#?}");
    let foreseen = place.call(&[
        "workflow",
        "plan",
        "hold.yaml",
        product::demo_clip().to_str().expect("text"),
        "-o",
        "json",
    ]);
    let foreseen = foreseen.json();
    assert_eq!(
        (&foreseen["then"], &foreseen["job_status"]),
        (&json!("retry"), &json!("held"))
    );
}

#[test]
fn a_held_job_is_retried_and_goes_on_with_the_same_command() {
    let (place, job) = held();
    let retried = place.call(&["jobs", "retry", "@last", "-o", "json"]);
    assert_eq!(retried.code, Some(0), "{retried:#?}");
    let header = retried.json();
    assert_eq!(
        (&header["id"], &header["status"], &header["round"]),
        (&job["id"], &json!("running"), &json!(2))
    );
    assert!(
        retried.stderr.contains("a worker goes on with it"),
        "{retried:#?}"
    );
    place
        .call(&["jobs", "retry", "@last"])
        .assert_error(1, &["is running: there is nothing to retry"]);

    let done = run(&place, false);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stderr.contains("goes on"), "{done:#?}");
    let done = done.json();
    assert_eq!((&done["id"], &done["round"]), (&job["id"], &json!(2)));
    place
        .call(&["jobs", "retry", "@last"])
        .assert_error(1, &["is succeeded: there is nothing to retry"]);
    place
        .call(&["plan", "show", "@last"])
        .assert_error(1, &["is succeeded: there is nothing to retry"]);
}

#[test]
fn a_held_job_is_tried_again_by_the_command_that_began_it() {
    let (place, job) = held();
    let again = run(&place, true);
    assert_eq!(
        (again.code, &again.json()["status"]),
        (Some(1), &json!("held"))
    );
    assert_eq!(again.json()["round"], 2, "{again:#?}");
    let done = run(&place, false);
    assert_eq!(done.code, Some(0), "{done:#?}");
    let done = done.json();
    assert_eq!((&done["id"], &done["round"]), (&job["id"], &json!(3)));
    assert_eq!(
        done["steps"][0]["attempts"].as_array().map(Vec::len),
        Some(3)
    );
}

#[test]
fn a_held_job_is_cancelled() {
    let (place, job) = held();
    let cancelled = place.call(&[
        "jobs",
        "cancel",
        "@last",
        "--reason",
        "nobody wants it",
        "-o",
        "json",
    ]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:#?}");
    assert_eq!(cancelled.json()["status"], "cancelled");
    assert_eq!(list(&place, "held"), json!([]));
    let shown = place.call(&["jobs", "get", "@last", "-o", "json"]).json();
    let message = shown["error"]["message"].as_str().expect("a sentence");
    assert!(message.contains("nobody wants it"), "{message}");
    // It can be taken up again like any other.
    let done = run(&place, false);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert_eq!(done.json()["id"], job["id"]);
}

#[test]
fn a_held_job_is_seen_cancelled_and_retried_over_http() {
    let (place, job) = held();
    let server = Server::development(&place);
    let get = |path: &str| Request::get(path).send(server.address);
    let post = |path: &str| Request::new("POST", path).send(server.address);
    let path = format!("/api/jobs/{}", job["id"].as_str().expect("an id"));

    let listed = get("/api/jobs?status=held").json();
    assert_eq!(listed["items"][0]["id"], job["id"], "{listed:#}");
    let shown = get(&path).json();
    assert_eq!(
        (&shown["status"], &shown["steps"][0]["status"]),
        (&json!("held"), &json!("held"))
    );
    assert_eq!(shown["retry_plan"]["executable"], true);
    let events: Vec<Value> = Request::get(&format!("{path}/events"))
        .stream(server.address)
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["kind"].as_str())
        .collect();
    assert!(kinds.ends_with(&["step.held", "run.held"]), "{kinds:?}");

    let cancelled = post(&format!("{path}/cancel"));
    assert_eq!(
        (cancelled.status, &cancelled.json()["status"]),
        (202, &json!("cancelled"))
    );
    let plan = get(&format!("{path}/retry-plan"));
    assert_eq!(
        (plan.status, &plan.json()["executable"]),
        (200, &json!(true))
    );
    let retried = post(&format!("{path}/retry"));
    assert_eq!((retried.status, &retried.json()["round"]), (202, &json!(2)));
    let after = events.len().to_string();
    let rest = Request::get(&format!("{path}/events")).header("last-event-id", &after);
    let mut rest = rest.stream(server.address);
    let done = rest.any(|event| event["kind"] == "run.succeeded");
    assert!(done, "{:#}", get(&path).json());
}
