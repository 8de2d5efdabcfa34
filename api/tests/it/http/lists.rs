//! What is long is read page by page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::Request;
use super::process::{Server, clip};
use crate::product::{self, Workplace};

/// Fails in 130 steps, none of which has a source.
const WIDE: &str = "
workflow: test:wide
version: 1
input: {type: object}
steps:
  each:
    activity: media.probe@1
    for_each: LIST
    with: {source: '${{ each }}.mp4'}
";

fn get(server: &Server, path: &str) -> Value {
    let answer = Request::get(path).send(server.address);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The ids of steps.
fn ids(steps: &Value) -> Vec<String> {
    let steps = steps.as_array().expect("a list").iter();
    steps
        .map(|step| step["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn a_wide_job_shows_its_first_steps_and_where_the_others_are() {
    let place = Workplace::new();
    let list: Vec<String> = (0..130).map(|n| format!("'{n}'")).collect();
    let wide = WIDE.replace("LIST", &format!("\"[{}]\"", list.join(",")));
    std::fs::write(place.path().join("wide.yaml"), wide).expect("a file");
    std::fs::create_dir(place.path().join("sources")).expect("a directory");
    let mut run = place.telecine(&["run", "wide.yaml", "-o", "json"]);
    run.env(
        "TELECINE_SOURCE_URL",
        format!("file://{}", place.path().join("sources").display()),
    );
    let ended = product::output(run);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let server = Server::development(&place);

    let job = get(&server, "/api/jobs")["items"][0]["id"].clone();
    let job = format!("/api/jobs/{}", job.as_str().expect("an id"));
    let document = get(&server, &job);
    assert_eq!(document["steps_total"], 130);
    assert_eq!(document["retry_plan"]["steps_total"], 130);
    let mut seen = ids(&document["steps"]);
    assert_eq!(seen.len(), 100);
    assert_eq!(document["steps"][0]["attempts"][0]["outcome"], "failed");
    let rest = get(
        &server,
        document["steps_next"].as_str().expect("an address"),
    );
    assert_eq!(
        (&rest["total"], &rest["next_cursor"]),
        (&json!(130), &Value::Null)
    );
    seen.extend(ids(&rest["items"]));
    let expected: Vec<String> = (0..130).map(|n| format!("each[{n}]")).collect();
    assert_eq!(seen, expected);

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&server, &format!("{job}/steps?limit=60{cursor}"));
        paged.extend(ids(&page["items"]));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, expected);

    let path = format!("{job}/steps/each%5B129%5D/artifacts");
    assert_eq!(get(&server, &path)["items"], json!([]));
    for (path, code) in [
        (format!("{job}/steps/each%5B130%5D/artifacts"), "no_step"),
        (format!("{job}/steps/each%5B/artifacts"), "no_step"),
        ("/api/jobs/job_none/steps".to_owned(), "no_job"),
    ] {
        Request::get(&path)
            .send(server.address)
            .assert_problem(404, code);
    }
    for query in [
        "steps?limit=101",
        "steps?cursor=65",
        "steps/each/artifacts?cursor=65",
    ] {
        Request::get(&format!("{job}/{query}"))
            .send(server.address)
            .assert_problem(400, "invalid_parameter");
    }
}

#[test]
fn what_a_step_left_is_listed_page_by_page() {
    let place = Workplace::new();
    clip(&place, ("data/sources", "film.mp4"), 2);
    let server = Server::development(&place);
    let request = json!({"type": "video:transcode", "source": "film.mp4"});
    let accepted = Request::post("/api/jobs", &request).send(server.address);
    let job = accepted.headers["location"].clone();
    let events = Request::get(&format!("{job}/events")).stream(server.address);
    assert_eq!(events.last().expect("events")["kind"], "run.succeeded");

    let document = get(&server, &job);
    let steps = document["steps"].as_array().expect("a list").iter();
    let step = steps.max_by_key(|step| step["artifacts_total"].as_u64());
    let step = step.expect("a step");
    let all = step["artifacts"].as_array().expect("a list");
    assert!(all.len() > 2, "{step:#}");
    let id = step["id"].as_str().expect("an id");
    let id = id.replace('[', "%5B").replace(']', "%5D");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(
            &server,
            &format!("{job}/steps/{id}/artifacts?limit=2{cursor}"),
        );
        paged.extend(page["items"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, all);
}

#[test]
fn the_feed_has_what_happens_to_all_jobs() {
    let place = Workplace::new();
    clip(&place, ("data/sources", "film.mp4"), 1);
    let server = Server::development(&place);
    let submit = |at_s: f64| {
        let options = json!({"cover": {"at_s": at_s}});
        let request = json!({"type": "video:cover", "source": "film.mp4", "options": options});
        let accepted = Request::post("/api/jobs", &request).send(server.address);
        accepted.json()["id"].clone()
    };
    let mut live = Request::get("/api/events").stream(server.address);
    let jobs: BTreeSet<String> = [0.0, 0.5]
        .map(|at_s| submit(at_s).as_str().expect("an id").to_owned())
        .into();
    let ends = |event: &Value| event["kind"] == "run.succeeded";
    let mut streamed: Vec<(String, Value)> = Vec::new();
    while streamed.iter().filter(|(_, event)| ends(event)).count() < 2 {
        streamed.push(live.next_of_feed().expect("the stream goes on"));
    }
    let seen: BTreeSet<String> = streamed
        .iter()
        .map(|(_, event)| event["job"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(seen, jobs);

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&server, &format!("/api/events?limit=5{cursor}"));
        let items = page["items"].as_array().expect("a list").clone();
        if items.is_empty() {
            break;
        }
        paged.extend(items);
        let next = page["next_cursor"].as_str().expect("a cursor");
        cursor = format!("&cursor={next}");
    }
    let events: Vec<Value> = streamed.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(paged, events);
    for job in jobs {
        let of_job = paged.iter().filter(|event| event["job"] == job.as_str());
        let numbers: Vec<u64> = of_job.filter_map(|event| event["seq"].as_u64()).collect();
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "{numbers:?}"
        );
    }

    let (id, _) = &streamed[2];
    let resumed = Request::get("/api/events").header("last-event-id", id);
    let mut resumed = resumed.stream(server.address);
    assert_eq!(resumed.next_of_feed().as_ref(), Some(&streamed[3]));
    let stream = Request::get("/api/events").header("accept", "text/event-stream");
    stream
        .header("last-event-id", "7")
        .send(server.address)
        .assert_problem(400, "invalid_parameter");
    Request::get("/api/events?cursor=6537")
        .send(server.address)
        .assert_problem(400, "invalid_parameter");
}
