//! Plans of many jobs.

use serde_json::{Value, json};

use crate::http::client::Request;
use crate::http::process::Server;
use crate::product::{self, Workplace};

/// Looks at two objects: at its source, and at one that has to be delivered.
const WAITING: &str = "
workflow: test:waiting
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}, note: {type: integer}}
steps:
  probe:
    activity: media.probe@1
    with: {source: '${{ input.source }}'}
  late:
    activity: media.probe@1
    needs: [probe]
    with: {source: late.mp4}
output: {}
";

/// A workplace with so many jobs that wait for the same object, and one that has another trouble.
fn place(jobs: u32) -> Workplace {
    let place = Workplace::new();
    std::fs::write(place.path().join("waiting.yaml"), WAITING).expect("a definition");
    let clip = place.path().join("film.mp4");
    std::fs::copy(product::demo_clip(), clip).expect("a clip");
    std::fs::write(place.path().join("words.mp4"), "words").expect("a file");
    let run = |source: &str, job: u32| {
        let note = format!("note={job}");
        let command = place.telecine(&["run", "waiting.yaml", source, "--set", &note]);
        assert_eq!(product::output(command).status.code(), Some(1));
    };
    (0..jobs).for_each(|job| run("film.mp4", job));
    run("words.mp4", 0);
    place
}

fn deliver(place: &Workplace) {
    let late = place.path().join("late.mp4");
    std::fs::copy(product::demo_clip(), late).expect("what was missing");
}

fn json(place: &Workplace, arguments: &[&str]) -> Value {
    product::succeed(place.telecine(&[arguments, &["-o", "json"]].concat()))
}

#[test]
fn all_jobs_of_one_trouble_are_planned_and_executed_together() {
    let place = place(3);
    let missing = ["--all", "--failed-with", "object_missing", "--since", "1h"];
    let planned = json(&place, &[&["plan", "new"], &missing[..]].concat());
    let sum = &planned["rollup"];
    assert_eq!(
        (&sum["jobs"], &sum["executable"]),
        (&json!(3), &json!(3)),
        "{planned:#}"
    );
    assert_eq!(sum["actions"], json!({"reuse": 3, "rerun": 3}));
    let none = ["plan", "new", "--all", "--failed-with", "no_such_code"];
    assert_eq!(json(&place, &none)["rollup"]["jobs"], 0);
    let recent = ["plan", "new", "--all", "--since", "2999-01-01T00:00:00Z"];
    assert_eq!(json(&place, &recent)["rollup"]["jobs"], 0);
    let blocked = ["plan", "new", "--all", "--failed-with", "not_media"];
    assert_eq!(json(&place, &blocked)["rollup"]["executable"], 0);

    let again = [&["plan", "new"], &missing[..], &["--force", "probe"]].concat();
    assert_eq!(
        json(&place, &again)["rollup"]["actions"],
        json!({"rerun": 6})
    );
    // One that was tried again for nothing waits for a decision, and is of the same trouble.
    let tried = planned["items"][0]["job"].as_str().expect("a job");
    let ended = product::output(place.telecine(&["plan", "execute", tried]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(json(&place, &["jobs", "get", tried])["status"], "held");
    deliver(&place);
    let executed = json(&place, &[&["plan", "execute"], &missing[..]].concat());
    let stages: Vec<_> = executed
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["status"])
        .collect();
    assert_eq!(stages, ["succeeded"; 3], "{executed:#}");
    for job in executed.as_array().expect("a list") {
        let id = job["job"].as_str().expect("a job");
        let job = json(&place, &["jobs", "get", id]);
        let attempts = job["steps"][0]["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(2), "the edit of its plan was kept: {job:#}");
    }
    let failed = json(&place, &["jobs", "list", "--status", "failed"]);
    assert_eq!(
        failed.as_array().map(Vec::len),
        Some(1),
        "the other one is left alone"
    );
}

#[test]
fn no_more_jobs_are_executed_at_a_time_than_may_be() {
    let place = place(3);
    // Nobody works: what is executed stays at work.
    let server = Server::start(Server::command(&place, "server"));
    let post = |path: &str, body: &Value| Request::post(path, body).send(server.address);
    let filter = json!({"filter": {"code": "object_missing"}, "limit": 2});
    let first = post("/api/retry-plans", &filter).json();
    let mut rest = filter.clone();
    rest["cursor"] = first["next_cursor"].clone();
    let second = post("/api/retry-plans", &rest).json();
    let items = [&first, &second].into_iter();
    let items = items.flat_map(|page| page["items"].as_array().expect("items").clone());
    let plans: Vec<Value> = items
        .map(|item| {
            json!({"job": item["job"], "plan": item["plan"]["id"], "digest": item["plan"]["digest"]})
        })
        .collect();
    assert_eq!(plans.len(), 3, "{first:#} {second:#}");

    let execute = |concurrency: u32| {
        let body = json!({"plans": plans, "concurrency": concurrency});
        let answer = post("/api/retry-plans/execute", &body).json();
        (answer["running"].clone(), answer["waiting"].clone())
    };
    assert_eq!(execute(1), (json!(1), json!(2)));
    assert_eq!(execute(1), (json!(1), json!(2)), "the one is at work still");
    assert_eq!(execute(2), (json!(2), json!(1)));
    let mut stale = plans[2].clone();
    stale["digest"] = "sha256:00".into();
    let refused = post("/api/retry-plans/execute", &json!({"plans": [stale]})).json();
    let why = &refused["items"][0]["refused"]["code"];
    assert_eq!(why, "plan_changed", "{refused:#}");

    let wrong = [
        (json!({"filter": {"status": "running"}}), "/filter/status"),
        (json!({"limit": 101}), "/limit"),
        (json!({"edits": {"force": 7}}), "/edits/force"),
    ];
    for (body, pointer) in wrong {
        let problem = post("/api/retry-plans", &body).assert_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    let empty = post("/api/retry-plans/execute", &json!({"plans": []}));
    let problem = empty.assert_problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["pointer"], "/plans");
}
