//! Servers and workers as processes of their own: told to stop, and killed.

use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::process::Signal;
use serde_json::{Value, json};
use telecine_engine::id::SessionId;
use telecine_engine::store::Store as _;
use telecine_store_postgres::PostgresStore;
use telecine_testkit::servers::{PostgresProxy, PostgresSchema};

use super::client::Request;
use super::process::{Server, clip};
use crate::product::{self, Workplace};

/// What the product promises for a worker that was killed.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// A stop ends at the next checkpoint, which is a segment of six seconds away.
const STOP: Duration = Duration::from_secs(60);

fn transcode(server: &Server, source: &str) -> String {
    let request = json!({"type": "video:transcode", "source": source});
    let accepted = Request::post("/api/jobs", &request).send(server.address);
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    accepted.headers["location"].clone()
}

fn outcomes(document: &Value) -> Vec<&str> {
    let steps = document["steps"].as_array().expect("steps");
    let attempts = steps.iter().flat_map(|step| step["attempts"].as_array());
    attempts
        .flatten()
        .filter_map(|attempt| attempt["outcome"].as_str())
        .collect()
}

#[test]
fn a_terminated_server_gives_its_steps_back_and_ends_well() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 120);
    let server = Server::start(Server::command(&place, "all"));
    let job = transcode(&server, "film.mp4");
    let events = Request::get(&format!("{job}/events"));
    let mut stream = events.stream(server.address);
    let checkpoint = stream.find(|event| event["kind"] == "step.checkpoint");
    assert!(checkpoint.is_some(), "it encodes");
    server.signal(Signal::TERM);
    // Whoever follows is not kept waiting: the stream ends, and goes on elsewhere.
    let seen = stream.last();
    assert_eq!(server.ended(STOP).code(), Some(0));
    place.assert_no_survivors();

    let server = Server::start(Server::command(&place, "all"));
    let seen = seen.or(checkpoint).expect("an event")["seq"].to_string();
    let mut rest = events.header("last-event-id", &seen).stream(server.address);
    let last = rest.find(|event| {
        event["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("run."))
    });
    assert_eq!(last.expect("an end")["kind"], "run.succeeded");
    let document = Request::get(&job).send(server.address).json();
    assert_eq!(document["round"], 1, "being stopped is no failure");
    let known = ["succeeded", "released"];
    let outcomes = outcomes(&document);
    assert!(
        outcomes.iter().all(|outcome| known.contains(outcome)),
        "{outcomes:?}"
    );
}

/// A server or a worker on Postgres.
fn on_postgres(place: &Workplace, mode: &str, database: &PostgresSchema) -> Command {
    let mut command = Server::command(place, mode);
    command
        .env("TELECINE_DATABASE_URL", database.url())
        .env("TELECINE_WORKER_CONCURRENCY", "2")
        .env(
            "TELECINE_SCRATCH_DIR",
            place.path().join(format!("scratch-{mode}")),
        );
    command
}

fn worker(place: &Workplace, database: &PostgresSchema, port: u16) -> Server {
    let mut command = on_postgres(place, "worker", database);
    command
        .env("TELECINE_WORKER_METRICS_PORT", port.to_string())
        .env(
            "TELECINE_SCRATCH_DIR",
            place.path().join(format!("scratch-{port}")),
        );
    Server::start(command)
}

/// A port that was free a moment ago: a worker's own listener takes no other.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Nobody works; what is looked at is looked at by the server.
#[test]
fn the_plan_of_a_job_that_was_cancelled_on_a_server_without_a_worker_is_proved() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    std::fs::create_dir_all(place.path().join("sources")).expect("a directory");
    std::fs::copy(product::small_clip(), place.path().join("sources/film.mp4")).expect("a copy");
    let server = Server::start(on_postgres(&place, "server", &database));
    let job = transcode(&server, "film.mp4");
    let cancelled = Request::post(&format!("{job}/cancel"), &json!({})).send(server.address);
    assert_eq!(cancelled.status, 202, "{}", cancelled.text());
    let began = Instant::now();
    let look = Request::get(&format!("{job}/retry-plan"));
    while look.send(server.address).json()["verified"].is_null() {
        assert!(began.elapsed() < TAKE_OVER, "nobody looks");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_job_goes_on_when_its_worker_is_killed_among_servers_and_workers_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    std::fs::create_dir_all(place.path().join("sources")).expect("a directory");
    std::fs::copy(product::small_clip(), place.path().join("sources/film.mp4")).expect("a copy");
    let servers = [0; 2].map(|_| Server::start(on_postgres(&place, "server", &database)));
    let workers = [0; 2].map(|_| worker(&place, &database, free_port()));
    for worker in &workers {
        assert_eq!(Request::get("/readyz").send(worker.address).status, 200);
        assert_eq!(Request::get("/api/jobs").send(worker.address).status, 404);
    }

    let job = transcode(&servers[0], "film.mp4");
    let mut stream = Request::get(&format!("{job}/events")).stream(servers[1].address);
    let mut sessions = std::collections::BTreeMap::new();
    let (step, victim) = loop {
        let event = stream.next().expect("it encodes first");
        let step = event["step"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("step.claimed") => drop(sessions.insert(step, event["data"]["worker"].clone())),
            Some("step.checkpoint") if step.starts_with("encode") => {
                break (step.clone(), sessions[&step].clone());
            }
            _ => {}
        }
    };
    let pid = runtime.block_on(process_of(&database, victim.as_str().expect("a session")));
    let killed_at = Utc::now();
    let (killed, alive): (Vec<_>, Vec<_>) =
        workers.into_iter().partition(|worker| worker.pid() == pid);
    assert_eq!((killed.len(), alive.len()), (1, 1));
    drop(killed);

    let mut taken_over = None;
    let end = loop {
        let event = stream.next().expect("it goes on to its end");
        let again = event["kind"] == "step.claimed" && event["step"] == step;
        if again && taken_over.is_none() {
            taken_over = Some(time(&event));
        }
        if event["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("run."))
        {
            break event["kind"].clone();
        }
    };
    assert_eq!(end, "run.succeeded");
    let took = (taken_over.expect("somebody took over") - killed_at).to_std();
    let took = took.expect("after the kill");
    assert!(took < TAKE_OVER, "it took {took:?}");
    eprintln!("{step} was taken over after {took:?}");
    let document = Request::get(&job).send(servers[1].address).json();
    assert!(outcomes(&document).contains(&"lost"), "{document:#}");
}

/// How soon a server is at work again on a network that carries again: what was asked meanwhile is given up.
const AGAIN: Duration = Duration::from_secs(20);

#[test]
fn a_server_whose_network_swallows_everything_says_so_and_goes_on() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let proxy = PostgresProxy::start(database.url());
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 5);
    let mut command = on_postgres(&place, "all", &database);
    command.env("TELECINE_DATABASE_URL", proxy.url());
    let server = Server::start(command);
    let ready = || Request::get("/readyz").send(server.address);
    assert_eq!(ready().status, 200);

    proxy.silence();
    let job = json!({"type": "video:transcode", "source": "film.mp4"});
    let refused = Request::post("/api/jobs", &job).send(server.address);
    refused.assert_problem(503, "database_unavailable");
    let problem = ready().assert_problem(503, "not_ready");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("the database"), "{detail}");
    let said = server.said();
    assert!(said.contains("the database cannot be reached"), "{said}");

    proxy.mend();
    let mended = Instant::now();
    while ready().status != 200 {
        assert!(mended.elapsed() < AGAIN, "{}", ready().text());
        std::thread::sleep(Duration::from_millis(100));
    }
    let job = transcode(&server, "film.mp4");
    let mut events = Request::get(&format!("{job}/events")).stream(server.address);
    let done = events.any(|event| event["kind"] == "run.succeeded");
    assert!(done, "{}", server.said());
}

fn time(event: &Value) -> DateTime<Utc> {
    let at = event["at"].as_str().expect("a time");
    at.parse().expect("a time")
}

/// The process of a session.
async fn process_of(database: &PostgresSchema, session: &str) -> u32 {
    let store = PostgresStore::open(database.url())
        .await
        .expect("the store opens");
    let sessions = store.other_sessions(&SessionId::generate()).await;
    let sessions = sessions.expect("sessions can be listed");
    let (found, _) = sessions
        .iter()
        .find(|(found, _)| found.id.as_str() == session)
        .expect("the session is there");
    let pid = found
        .name
        .rsplit(' ')
        .next()
        .and_then(|pid| pid.parse().ok());
    pid.expect("sessions are named after their process")
}
