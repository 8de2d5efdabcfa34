//! Every way to ask wrongly, and what is answered.

use serde_json::{Value, json};
use telecine_testkit::servers::PostgresSchema;

use super::client::{Answer, Request};
use super::process::{Server, clip};
use crate::product::Workplace;

fn server() -> (Workplace, Server) {
    let place = Workplace::new();
    clip(&place, ("data/sources", "film.mp4"), 1);
    let server = Server::development(&place);
    (place, server)
}

/// The members that a problem is about.
fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("a list");
    errors
        .iter()
        .map(|error| error["pointer"].as_str().expect("a pointer"))
        .collect()
}

/// A request for the cover of a film, with these members in it.
fn cover(more: Value) -> Value {
    let mut request = json!({"type": "video:cover", "source": "film.mp4"});
    let Value::Object(members) = more else {
        panic!("an object, not {more}");
    };
    request.as_object_mut().expect("an object").extend(members);
    request
}

/// Fails unless each request is refused with this code, naming these members.
fn assert_refused(code: &str, cases: Vec<(Value, &[&str])>) {
    let (_place, server) = server();
    for (request, named) in cases {
        let answer = Request::post("/api/jobs", &request).send(server.address);
        let problem = answer.assert_problem(400, code);
        assert_eq!(pointers(&problem), named, "{request}: {problem:#}");
    }
    let listed = Request::get("/api/jobs").send(server.address).json();
    assert_eq!(listed["items"], json!([]), "nothing of it was done");
}

#[test]
fn a_request_for_a_job_that_is_none_names_what_is_wrong() {
    let many: serde_json::Map<_, _> = (0..33).map(|n| (n.to_string(), json!("x"))).collect();
    let callback = json!({"callback_url": "http://x"});
    let cases: Vec<(Value, &[&str])> = vec![
        (json!([]), &[""]),
        (json!({}), &["/type"]),
        (cover(json!({"lables": {}})), &["/lables"]),
        (cover(callback), &["/callback_url"]),
        (cover(json!({"queue": "slow"})), &["/queue"]),
        (cover(json!({"priority": 1001})), &["/priority"]),
        (cover(json!({"source": 7})), &["/source"]),
        (cover(json!({"input": {}})), &["/source"]),
        (
            cover(json!({"options": {"source": "a"}})),
            &["/options/source"],
        ),
        (cover(json!({"labels": {"a=b": "c"}})), &["/labels/a=b"]),
        (cover(json!({"labels": {"a": "\n"}})), &["/labels/a"]),
        (cover(json!({"labels": many})), &["/labels"]),
    ];
    assert_refused("invalid_request", cases);
    let unknown = cover(json!({"type": "video:covr"}));
    assert_refused("unknown_workflow", vec![(unknown, &["/type"])]);
}

#[test]
fn an_input_that_does_not_fit_is_told_in_the_words_of_the_request() {
    let negative = json!({"source": "film.mp4", "cover": {"at_s": -1}});
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"type": "video:cover"}), &["/source"]),
        (cover(json!({"hash": "?"})), &["/hash"]),
        (
            cover(json!({"options": {"a": 1, "b": 2}})),
            &["/options/a", "/options/b"],
        ),
        (
            json!({"type": "video:cover", "input": negative}),
            &["/input/cover/at_s"],
        ),
    ];
    assert_refused("invalid_input", cases);
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let whole = json!({"type": "video:cover", "input": {"source": "none"}});
    let cases: Vec<(Value, &[&str])> = vec![
        (cover(json!({"source": "none.mp4"})), &["/source"]),
        (cover(json!({"source": "../film.mp4"})), &["/source"]),
        (whole, &["/input/source"]),
    ];
    assert_refused("source_missing", cases);
}

/// Fails unless each request is refused so.
fn assert_problems(server: &Server, cases: Vec<(Request, u16, &str)>) {
    for (request, status, code) in cases {
        request.send(server.address).assert_problem(status, code);
    }
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let (_place, server) = server();
    let post = || Request::new("POST", "/api/jobs").header("content-type", "application/json");
    let long = "x".repeat(1024 * 1024 + 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let undeclared = Request::new("POST", "/api/jobs").body("{}");
    let cases = vec![
        (post().body("{"), 400, "malformed_json"),
        (post().body(deep), 400, "malformed_json"),
        (post().body(b"\xff\xfe".as_slice()), 400, "malformed_json"),
        (post().body(long), 413, "body_too_large"),
        (undeclared, 415, "unsupported_media_type"),
    ];
    assert_problems(&server, cases);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let (_place, server) = server();
    let cases = vec![
        (Request::get("/nothing"), 404, "not_found"),
        (Request::get("/api/nothing"), 404, "not_found"),
        (Request::get("/api/jobs/job_none"), 404, "no_job"),
        (Request::get("/api/jobs/job_none/events"), 404, "no_job"),
        (Request::get("/api/jobs/job_none/retry-plan"), 404, "no_job"),
        (
            Request::new("POST", "/api/jobs/job_none/cancel"),
            404,
            "no_job",
        ),
        (
            Request::new("POST", "/api/jobs/job_none/retry"),
            404,
            "no_job",
        ),
        (Request::get("/api/workflows/none"), 404, "no_workflow"),
    ];
    assert_problems(&server, cases);
    let wrong = Request::new("DELETE", "/api/jobs").send(server.address);
    wrong.assert_problem(405, "method_not_allowed");
    let allowed = &wrong.headers["allow"];
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
}

/// Postgres takes no NUL in a text.
#[test]
fn what_a_database_cannot_be_asked_is_refused_before() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    let mut command = Server::command(&place, "server");
    command.env("TELECINE_DATABASE_URL", database.url());
    let server = Server::start(command);
    for name in ["%00", "job_%00", "job_%0A"] {
        let of_job = |rest: &str| format!("/api/jobs/{name}{rest}");
        let cases = vec![
            (Request::get(&of_job("")), 404, "no_job"),
            (Request::get(&of_job("/events")), 404, "no_job"),
            (Request::get(&of_job("/retry-plan")), 404, "no_job"),
            (Request::new("POST", &of_job("/cancel")), 404, "no_job"),
            (Request::new("POST", &of_job("/retry")), 404, "no_job"),
        ];
        assert_problems(&server, cases);
    }
    for (name, value) in [("type", "%00"), ("label", "a%3D%00"), ("hash", "a%1F")] {
        let asked = Request::get(&format!("/api/jobs?{name}={value}")).send(server.address);
        let problem = asked.assert_problem(400, "invalid_parameter");
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(detail.starts_with(name), "{detail}");
    }
    let cursor = Request::get("/api/jobs?cursor=6a6a6f625f00").send(server.address);
    cursor.assert_problem(400, "invalid_parameter");
}

#[test]
fn parameters_and_heads_are_kept_within_their_bounds() {
    let (_place, server) = server();
    let long = format!("/api/jobs?type={}", "x".repeat(9000));
    let wide = Request::get("/healthz").header("x-long", &"x".repeat(20_000));
    let events = Request::get("/api/jobs/job_none/events");
    let events = events
        .header("accept", "text/event-stream")
        .header("last-event-id", "x");
    let cases = vec![
        (Request::get("/api/jobs/%ff"), 400, "invalid_parameter"),
        (Request::get("/api/jobs?limit=0"), 400, "invalid_parameter"),
        (
            Request::get("/api/jobs?limit=101"),
            400,
            "invalid_parameter",
        ),
        (Request::get("/api/jobs?offset=1"), 400, "invalid_parameter"),
        (
            Request::get("/api/jobs?status=lost"),
            400,
            "invalid_parameter",
        ),
        (Request::get("/api/jobs?cursor=7"), 400, "invalid_parameter"),
        (events, 400, "invalid_parameter"),
        (Request::get(&long), 414, "uri_too_long"),
        (wide, 431, "headers_too_large"),
    ];
    assert_problems(&server, cases);
}

#[test]
fn a_trace_of_the_caller_goes_on() {
    let (_place, server) = server();
    let id = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{id}-b7ad6b7169203331-01");
    let asked = |parent: &str| -> Answer {
        Request::get("/nothing")
            .header("traceparent", parent)
            .send(server.address)
    };
    let problem = asked(&parent).assert_problem(404, "not_found");
    assert_eq!(problem["trace_id"], id);
    assert_ne!(asked("nonsense").headers["x-trace-id"], id);
}

#[test]
fn more_streams_than_there_may_be_are_put_off() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    // Nobody works on the job: it stays as it is.
    let server = Server::start(Server::command(&place, "server"));
    let request = json!({"type": "video:cover", "source": "film.mp4"});
    let accepted = Request::post("/api/jobs", &request).send(server.address);
    let events = Request::get(&format!("{}/events", accepted.headers["location"]));
    let events = events.header("accept", "text/event-stream");
    let mut streams = Vec::new();
    let refused = loop {
        assert!(streams.len() <= 256, "there is no bound");
        match events.try_stream(server.address) {
            Ok(stream) => streams.push(stream),
            Err(answer) => break answer,
        }
    };
    refused.assert_problem(429, "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(streams.len(), 256);
}
