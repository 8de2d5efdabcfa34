//! A server whose dependencies, or whose callers, are in trouble.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use telecine_testkit::servers::{PostgresProxy, PostgresSchema};

use super::client::{Answer, Request};
use super::process::{Server, clip};
use crate::product::{self, Workplace};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ready(server: &Server) -> Answer {
    Request::get("/readyz").send(server.address)
}

#[test]
fn a_directory_that_is_gone_is_noticed() {
    let place = Workplace::new();
    let server = Server::start(Server::command(&place, "server"));
    assert_eq!(ready(&server).status, 200);
    for (name, store) in [
        ("media", "the media store"),
        ("sources", "the source store"),
    ] {
        let (directory, away) = (place.path().join(name), place.path().join("away"));
        std::fs::rename(&directory, &away).expect("a directory");
        until("it is noticed", || ready(&server).status == 503);
        let problem = ready(&server).assert_problem(503, "not_ready");
        assert_eq!(problem["detail"], format!("{store} cannot be used"));
        if name == "sources" {
            let job = json!({"type": "video:cover", "source": "film.mp4"});
            let refused = Request::post("/api/jobs", &job).send(server.address);
            refused.assert_problem(503, "store_unavailable");
        }
        std::fs::rename(&away, &directory).expect("a directory");
        until("it is back", || ready(&server).status == 200);
    }
}

/// As when what it is on was unmounted: results would be on the disk of the worker.
#[test]
fn a_directory_for_results_that_is_gone_is_waited_for_and_not_made_anew() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 2);
    let server = Server::start(Server::command(&place, "all"));
    let (media, away) = (place.path().join("media"), place.path().join("away"));
    let submit = |workflow: &str| {
        let job = json!({"type": workflow, "source": "film.mp4"});
        let accepted = Request::post("/api/jobs", &job).send(server.address);
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        let events = format!("{}/events", accepted.headers["location"]);
        Request::get(&events).stream(server.address)
    };
    let mut first = submit("video:cover");
    assert!(first.any(|event| event["kind"] == "run.succeeded"));
    std::fs::rename(&media, &away).expect("a directory");
    let mut second = submit("video:preview");
    assert!(
        second.any(|event| event["kind"] == "step.backoff"),
        "it waits"
    );
    assert!(!media.exists(), "it was made anew");
    std::fs::rename(&away, &media).expect("a directory");
    let ended = second.find(|event| {
        event["kind"]
            .as_str()
            .is_some_and(|it| it.starts_with("run."))
    });
    assert_eq!(ended.expect("an end")["kind"], "run.succeeded");
}

/// What a command says that cannot start, and the code that it ends with.
fn refused(command: Command) -> (String, Option<i32>) {
    let output = product::output(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    (said, output.status.code())
}

/// What a newer version leaves once it has brought a database up to date.
const OF_TOMORROW: &str = "
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
    values (9999, 'of tomorrow', true, '', 0)";

#[test]
fn a_database_that_is_away_or_of_a_newer_version_is_named_at_the_start() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    for mode in ["all", "server", "worker"] {
        let mut command = Server::command(&place, mode);
        command.env(
            "TELECINE_DATABASE_URL",
            "postgres://nobody@127.0.0.1:1/none",
        );
        let (said, code) = refused(command);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("database cannot be reached: 127.0.0.1:1: "),
            "{said}"
        );
    }
    let command = || {
        let mut command = Server::command(&place, "server");
        command.env("TELECINE_DATABASE_URL", database.url());
        command
    };
    let server = Server::start(command());
    assert_eq!(ready(&server).json()["degraded"], Value::Null);
    runtime.block_on(database.execute(OF_TOMORROW));
    until("it is told", || {
        ready(&server).json()["degraded"] != Value::Null
    });
    let told = ready(&server).json();
    assert_eq!(told["status"], "ready", "it goes on: {told}");
    let sentence = told["degraded"][0].as_str().expect("a sentence");
    assert!(
        sentence.contains("newer version of telecine (schema 9999)"),
        "{sentence}"
    );
    drop(server);
    let (said, code) = refused(command());
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("newer version of telecine (schema 9999)"),
        "{said}"
    );
}

#[test]
fn a_redis_or_a_store_that_is_away_is_told_at_the_start_and_waited_for() {
    let place = Workplace::new();
    let mut command = Server::command(&place, "server");
    command
        .env("TELECINE_REDIS_URL", "redis://127.0.0.1:1")
        .env("TELECINE_MEDIA_URL", "s3://media/all")
        .env("TELECINE_MEDIA_S3_ENDPOINT", "http://127.0.0.1:1")
        .env("TELECINE_MEDIA_S3_ACCESS_KEY", "somebody")
        .env("TELECINE_MEDIA_S3_SECRET_KEY", "hidden-from-view");
    let server = Server::start(command);
    let said = server.said();
    let told = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!(told("redis cannot be used: "), 1, "{said}");
    let unusable = "cannot use the media store s3://media/all: the object store at \
                    http://127.0.0.1:1 cannot be reached";
    assert_eq!(told(unusable), 1, "{said}");
    assert_eq!(said.lines().count(), 2, "nothing else: {said}");
    assert!(!said.contains("hidden-from-view"), "{said}");
    let problem = ready(&server).assert_problem(503, "not_ready");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|it| it.starts_with("the media store"))
    );
}

/// Gives up a lock, also when a test fails: its schema could not be removed, and as long as its transaction
/// is open, the feeds of all other tests stand still.
struct Unlock<'a>(&'a dyn Fn());

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn jobs_go_on_while_a_hundred_readers_are_stuck() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = Arc::new(runtime.block_on(PostgresSchema::create()));
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    std::fs::write(place.path().join("sources/none.mp4"), "no film").expect("a file");
    let mut command = Server::command(&place, "all");
    command.env("TELECINE_DATABASE_URL", database.url());
    let server = Server::start(command);
    let submit = |source: &str| {
        let request = json!({"type": "video:cover", "source": source});
        let accepted = Request::post("/api/jobs", &request).send(server.address);
        accepted.headers["location"].clone()
    };
    let failed = submit("none.mp4");
    let retry_plan = format!("{failed}/retry-plan");
    // Proving the plan is the last that is written for this job.
    until("its plan is proved", || {
        let plan = Request::get(&retry_plan).send(server.address);
        plan.status == 200 && !plan.json()["verified"].is_null()
    });

    // What shows a plan reads this table; a job that goes well never does.
    let lock = "begin; lock table plan in access exclusive mode; select pg_sleep(600)";
    let locking = database.clone();
    let locking = runtime.spawn(async move { locking.execute(lock).await });
    let unlocking = Unlock(&|| {
        let unlock = "select pg_terminate_backend(pid)::text from pg_locks where granted \
                      and relation = 'plan'::regclass and mode = 'AccessExclusiveLock'";
        runtime.block_on(database.text(unlock));
    });
    let locked = "select count(*)::text from pg_locks where relation = 'plan'::regclass and granted \
                  and mode = 'AccessExclusiveLock'";
    until("the table is locked", || {
        runtime.block_on(database.text(locked)).as_deref() == Some("1")
    });
    let address = server.address;
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let plan = Request::get(&retry_plan);
            std::thread::spawn(move || plan.send(address))
        })
        .collect();
    let job = submit("film.mp4");
    until("the job succeeds", || {
        let id = job.trim_start_matches("/api/jobs/");
        let status = format!("select status from run where id = '{id}'");
        runtime.block_on(database.text(&status)).as_deref() == Some("succeeded")
    });
    for reader in readers {
        let answer = reader.join().expect("an answer");
        answer.assert_problem(503, "database_unavailable");
        assert_eq!(answer.headers["retry-after"], "2");
    }
    drop(unlocking);
    assert!(runtime.block_on(locking).is_err(), "its connection is gone");
}

#[test]
fn a_database_that_is_away_is_a_503_and_comes_back() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    let proxy = PostgresProxy::start(database.url());
    let mut command = Server::command(&place, "server");
    command.env("TELECINE_DATABASE_URL", proxy.url());
    let server = Server::start(command);
    proxy.cut();
    for path in ["/api/jobs", "/api/jobs/job_none", "/api/events"] {
        let answer = Request::get(path).send(server.address);
        answer.assert_problem(503, "database_unavailable");
        assert_eq!(answer.headers["retry-after"], "2");
    }
    until("it is told", || ready(&server).status == 503);
    proxy.mend();
    until("it is back", || ready(&server).status == 200);
    assert_eq!(Request::get("/api/jobs").send(server.address).status, 200);
}

/// A connection that has sent so much and sends no more.
fn dripping(server: SocketAddr, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).expect("the server can be reached");
    stream.write_all(sent.as_bytes()).expect("it reads");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn who_sends_too_slowly_is_put_off_and_nobody_else_notices() {
    let place = Workplace::new();
    let server = Server::start(Server::command(&place, "server"));
    let head = "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let begun = format!("{head}content-length: 100\r\n\r\n{{");
    let body = || dripping(server.address, &begun);
    let mut bodies: Vec<_> = (0..300).map(|_| body()).collect();
    let mut heads = dripping(server.address, head);
    let ask = || Request::get("/api/jobs").send(server.address);
    until("it has read enough of them", || {
        let refuses = ask().status == 429;
        // The first ones are put off after half a minute, in which a busy server may not have read all.
        if !refuses && bodies.len() < 900 {
            bodies.extend((0..20).map(|_| body()));
        }
        refuses
    });
    let refused = ask();
    refused.assert_problem(429, "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(Request::get("/healthz").send(server.address).status, 200);

    let mut answer = String::new();
    let mut first = &bodies[0];
    let _ = first.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    let mut silence = String::new();
    let _ = heads.read_to_string(&mut silence);
    assert!(
        silence.is_empty() || silence.starts_with("HTTP/1.1 408"),
        "{silence}"
    );
    drop(bodies);
    until("it takes requests again", || ask().status == 200);
}

#[test]
fn the_reference_for_people_needs_nothing_from_elsewhere() {
    let place = Workplace::new();
    let server = Server::start(Server::command(&place, "server"));
    let page = Request::get("/docs").send(server.address);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"));
    let text = page.text();
    for elsewhere in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!text.contains(elsewhere), "{elsewhere}");
    }
    let anchors = text.split("href=\"#").skip(1);
    for anchor in anchors.filter_map(|rest| rest.split('"').next()) {
        assert!(
            text.contains(&format!("id=\"{anchor}\"")),
            "nothing at #{anchor}"
        );
    }
    assert!(text.contains("GET /api/jobs/{id}/steps"), "{text}");
}

#[test]
fn results_that_are_gone_are_made_again() {
    let place = Workplace::new();
    clip(&place, ("data/sources", "film.mp4"), 1);
    let server = Server::development(&place);
    let request = json!({"type": "video:cover", "source": "film.mp4"});
    let submit = || Request::post("/api/jobs", &request).send(server.address);
    let follow = |job: &Answer| {
        let events = format!("{}/events", job.headers["location"]);
        let last = Request::get(&events).stream(server.address).last();
        assert_eq!(last.expect("events")["kind"], "run.succeeded");
        Request::get(&job.headers["location"])
            .send(server.address)
            .json()
    };
    let first = submit();
    let document = follow(&first);
    assert_eq!(submit().status, 200, "it is there");
    let key = document["output"]["cover"].as_str().expect("a key");
    std::fs::remove_file(place.data().join("media").join(key)).expect("the cover");
    let again = submit();
    assert_eq!(again.status, 202, "{}", again.text());
    assert_ne!(again.json()["id"], first.json()["id"]);
    follow(&again);
    assert_eq!(submit().json()["id"], again.json()["id"]);
}
