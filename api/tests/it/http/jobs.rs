//! Jobs over HTTP: submitted, followed, listed, cancelled, retried.

use serde_json::{Value, json};

use super::client::{Answer, Request};
use super::process::{Server, clip};
use crate::product::Workplace;

/// A place with a server for development and a clip of two seconds.
fn development() -> (Workplace, Server) {
    let place = Workplace::new();
    clip(&place, ("data/sources", "film.mp4"), 2);
    let server = Server::development(&place);
    (place, server)
}

fn submit(server: &Server, request: &Value) -> Answer {
    Request::post("/api/jobs", request).send(server.address)
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_job_submitted_over_http_is_followed_to_its_end() {
    let (place, server) = development();
    let request =
        json!({"type": "video:cover", "source": "film.mp4", "labels": {"project": "one"}});
    let accepted = submit(&server, &request);
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let job = accepted.headers["location"].clone();
    assert_eq!(job, format!("/api/jobs/{}", id(&accepted)));

    let events = format!("{job}/events");
    let seen: Vec<Value> = Request::get(&events).stream(server.address).collect();
    assert_eq!(seen.last().expect("events")["kind"], "run.succeeded");
    let numbers: Vec<_> = seen.iter().map(|event| event["seq"].as_u64()).collect();
    let all: Vec<_> = (1..=seen.len() as u64).map(Some).collect();
    assert_eq!(numbers, all, "every event once, in order");

    let history = Request::get(&events).send(server.address).json();
    assert_eq!(history["items"], Value::from(seen));
    assert_eq!(history["next_cursor"], Value::Null);

    let document = Request::get(&job).send(server.address).json();
    assert_eq!(document["status"], "succeeded");
    assert_eq!(document["labels"], json!({"project": "one"}));
    let cover = document["output"]["cover"].as_str().expect("a key");
    assert!(place.data().join("media").join(cover).exists(), "{cover}");

    let again = submit(&server, &request);
    assert_eq!((again.status, id(&again)), (200, id(&accepted)));
}

#[test]
fn a_server_for_development_uses_the_stores_that_it_is_told() {
    let place = Workplace::new();
    clip(&place, ("elsewhere", "film.mp4"), 2);
    let elsewhere = place.path().join("elsewhere");
    let mut command = place.telecine(&["dev", "--listen", "127.0.0.1:0"]);
    command.env(
        "TELECINE_SOURCE_URL",
        format!("file://{}", elsewhere.display()),
    );
    let server = Server::start(command);
    let accepted = submit(
        &server,
        &json!({"type": "video:cover", "source": "film.mp4"}),
    );
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    assert!(
        place.data().join("media").exists(),
        "the other is a directory of its own"
    );
    assert!(!place.data().join("sources").exists());
}

#[test]
fn a_stream_that_broke_off_goes_on_behind_the_last_event() {
    let (_place, server) = development();
    let accepted = submit(
        &server,
        &json!({"type": "video:cover", "source": "film.mp4"}),
    );
    let events = format!("/api/jobs/{}/events", id(&accepted));
    let first: Vec<Value> = Request::get(&events)
        .stream(server.address)
        .take(3)
        .collect();
    assert_eq!(first.len(), 3);

    let resumed = Request::get(&events).header("last-event-id", "3");
    let rest: Vec<Value> = resumed.stream(server.address).collect();
    assert_eq!(rest[0]["seq"], 4);
    let last = rest.last().expect("events");
    assert_eq!(last["kind"], "run.succeeded");

    let over = Request::get(&events)
        .header("last-event-id", &last["seq"].to_string())
        .header("accept", "text/event-stream")
        .send(server.address);
    assert_eq!(
        over.status, 204,
        "browsers come back for ever unless told so"
    );
}

#[test]
fn a_document_that_did_not_change_is_not_sent_again() {
    let (_place, server) = development();
    let accepted = submit(
        &server,
        &json!({"type": "video:cover", "source": "film.mp4"}),
    );
    let job = accepted.headers["location"].clone();
    let events = format!("{job}/events");
    assert!(Request::get(&events).stream(server.address).count() > 0);
    let whole = Request::get(&job).send(server.address);
    let tag = whole.headers["etag"].clone();
    let same = Request::get(&job)
        .header("if-none-match", &tag)
        .send(server.address);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.headers["etag"], tag);
    let other = Request::get(&job)
        .header("if-none-match", "\"x\"")
        .send(server.address);
    assert_eq!(other.status, 200);
}

#[test]
fn jobs_and_events_are_listed_page_by_page() {
    let (_place, server) = development();
    let mut submitted: Vec<String> = (0..5)
        .map(|second| {
            let options = json!({"cover": {"at_s": f64::from(second) / 10.0}});
            let request = json!({"type": "video:cover", "source": "film.mp4", "options": options});
            id(&submit(&server, &request))
        })
        .collect();
    submitted.reverse();
    assert_eq!(pages(&server, "/api/jobs?limit=2", "id"), submitted);
    assert_eq!(
        pages(&server, "/api/jobs?limit=2&type=video:cover", "id"),
        submitted
    );
    assert_eq!(pages(&server, "/api/jobs?type=video:full", "id"), [""; 0]);
    assert_eq!(pages(&server, "/api/jobs?status=failed", "id"), [""; 0]);

    let events = format!("/api/jobs/{}/events", submitted[0]);
    let all = Request::get(&events).stream(server.address).count();
    assert_eq!(
        pages(&server, &format!("{events}?limit=4"), "seq").len(),
        all
    );
}

/// The members of that name of all entries, page by page.
fn pages(server: &Server, path: &str, member: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = Request::get(&format!("{path}{cursor}"))
            .send(server.address)
            .json();
        let items = page["items"].as_array().expect("a page");
        found.extend(items.iter().map(|item| match &item[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
        let joint = if path.contains('?') { '&' } else { '?' };
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("{joint}cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn a_cancelled_job_is_retried_and_a_finished_one_is_neither() {
    let (place, server) = development();
    clip(&place, ("data/sources", "long.mp4"), 60);
    let accepted = submit(
        &server,
        &json!({"type": "video:transcode", "source": "long.mp4"}),
    );
    let job = accepted.headers["location"].clone();
    let (cancel, retry) = (format!("{job}/cancel"), format!("{job}/retry"));
    let send = |path: &str| Request::new("POST", path).send(server.address);

    send(&retry).assert_problem(409, "job_not_stopped");
    Request::get(&format!("{job}/retry-plan"))
        .send(server.address)
        .assert_problem(404, "no_plan");

    let reason = json!({"reason": "the wrong film"});
    let cancelled = Request::post(&cancel, &reason).send(server.address);
    assert_eq!(
        (cancelled.status, &cancelled.json()["status"]),
        (202, &json!("cancelled"))
    );
    let message = cancelled.json()["error"]["message"].clone();
    assert_eq!(message, "cancelled by api: the wrong film");
    send(&cancel).assert_problem(409, "job_ended");

    let plan = Request::get(&format!("{job}/retry-plan")).send(server.address);
    assert_eq!(
        (plan.status, &plan.json()["executable"]),
        (200, &json!(true))
    );
    assert_eq!(plan.headers["etag"], format!("{}", plan.json()["digest"]));

    let retried = send(&retry);
    assert_eq!((retried.status, &retried.json()["round"]), (202, &json!(2)));
    assert_eq!(send(&cancel).status, 202);
}

#[test]
fn a_job_whose_source_is_no_video_cannot_be_retried_as_it_is() {
    let (place, server) = development();
    std::fs::write(place.data().join("sources/text.mp4"), "this is no video").expect("a file");
    let accepted = submit(
        &server,
        &json!({"type": "video:cover", "source": "text.mp4"}),
    );
    let job = accepted.headers["location"].clone();
    let events: Vec<Value> = Request::get(&format!("{job}/events"))
        .stream(server.address)
        .collect();
    assert_eq!(events.last().expect("events")["kind"], "run.failed");
    let document = Request::get(&job).send(server.address).json();
    assert_eq!(document["error"]["class"], "input");
    assert_eq!(document["retry_plan"]["executable"], false);
    assert_eq!(document["retry_plan"]["href"], format!("{job}/retry-plan"));
    Request::new("POST", &format!("{job}/retry"))
        .send(server.address)
        .assert_problem(409, "plan_not_executable");
}

#[test]
fn what_can_be_run_is_listed_with_its_schemas() {
    let (_place, server) = development();
    let get = |path: &str| Request::get(path).send(server.address).json();
    let workflows = get("/api/workflows");
    let names: Vec<_> = workflows["items"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert!(
        names
            .iter()
            .any(|workflow| workflow["name"] == "video:full")
    );
    let full = get("/api/workflows/video:full");
    assert_eq!(full["input"]["required"], json!(["source"]));
    assert_eq!(full["definition"]["workflow"], "video:full");
    let activities = get("/api/activities");
    let probe = activities["items"].as_array().expect("a list").iter();
    let probe = probe
        .clone()
        .find(|activity| activity["name"] == "media.probe");
    assert_eq!(probe.expect("a probe")["input_schema"]["type"], "object");
}

#[test]
fn a_request_with_an_idempotency_key_is_done_once() {
    let (place, server) = development();
    let cover = |at_s: f64| json!({"type": "video:cover", "source": "film.mp4", "options": {"cover": {"at_s": at_s}}});
    let send = |body: &Value, key: &str| {
        let request = Request::post("/api/jobs", body).header("idempotency-key", key);
        request.send(server.address)
    };
    let body = cover(0.5);
    let answers = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(|| send(&body, "one"))).collect();
        let answers = senders
            .into_iter()
            .map(|sender| sender.join().expect("an answer"));
        answers.collect::<Vec<_>>()
    });
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 1, "{answers:#?}");
    let first = id(&answers[0]);
    assert!(answers.iter().all(|answer| id(answer) == first));

    send(&cover(0.6), "one").assert_problem(422, "idempotency_key_reused");
    std::fs::remove_file(place.data().join("sources/film.mp4")).expect("a source");
    let again = send(&body, "one");
    assert_eq!(
        (again.status, id(&again)),
        (200, first),
        "the source need not be there any more"
    );
    send(&body, "two").assert_problem(400, "source_missing");
    send(&body, "").assert_problem(400, "invalid_parameter");
    send(&body, &"x".repeat(256)).assert_problem(400, "invalid_parameter");
}

#[test]
fn jobs_are_found_by_label_hash_and_time() {
    let (_place, server) = development();
    let one = json!({"type": "video:cover", "source": "film.mp4", "hash": "0123abcd", "labels": {"project": "a=b c"}});
    let one = id(&submit(&server, &one));
    let two = id(&submit(
        &server,
        &json!({"type": "video:cover", "source": "film.mp4"}),
    ));
    let found = |filter: &str| pages(&server, &format!("/api/jobs?{filter}"), "id");
    assert_eq!(found("label=project=a%3Db%20c"), std::slice::from_ref(&one));
    assert_eq!(found("label=project=b"), [""; 0]);
    assert_eq!(found("hash=0123abcd"), [one]);
    let header = Request::get(&format!("/api/jobs/{two}"))
        .send(server.address)
        .json();
    let at = header["created_at"].as_str().expect("a time");
    assert_eq!(found(&format!("created_after={at}")), [""; 0]);
    assert_eq!(found("created_after=2020-01-01T00:00:00Z").len(), 2);
    for bad in ["label=project", "created_after=yesterday"] {
        Request::get(&format!("/api/jobs?{bad}"))
            .send(server.address)
            .assert_problem(400, "invalid_parameter");
    }
}
