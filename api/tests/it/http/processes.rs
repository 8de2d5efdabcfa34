//! Servers and workers as processes of their own: told to stop, and killed.

use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use telecine_engine::id::SessionId;
use telecine_engine::store::Store as _;
use telecine_store_postgres::PostgresStore;
use telecine_testkit::servers::{PostgresProxy, PostgresSchema};

use super::client::{Request, Stream};
use super::process::{Server, clip};
use crate::product::{self, Workplace};

/// What the product promises for a worker that was killed.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// How long a stop takes at most: steps that save no checkpoint run to their end.
const STOP: Duration = Duration::from_secs(60);

fn transcode(server: &Server, source: &str) -> String {
    accepted(server, ("video:transcode", source))
}

/// Submits a job, and answers its address.
fn accepted(server: &Server, (workflow, source): (&str, &str)) -> String {
    let request = json!({"type": workflow, "source": source});
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

#[test]
fn a_process_that_stops_says_so_for_as_long_as_it_takes() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 120);
    let mut command = Server::command(&place, "all");
    command.env("TELECINE_WORKER_SHUTDOWN_TIMEOUT", "4s");
    let server = Server::start(command);
    let job = accepted(&server, ("video:preview", "film.mp4"));
    let mut stream = Request::get(&format!("{job}/events")).stream(server.address);
    let begins = |event: &Value| event["kind"] == "step.claimed" && event["step"] == "preview";
    assert!(stream.any(|event| begins(&event)), "it makes a preview");
    // It saves no checkpoint, and has no end.
    let deadline = Instant::now() + STOP;
    let stopped = || {
        let tools = children_of(server.pid()).into_iter();
        // One may have ended since.
        tools.filter(|tool| kill_process(*tool, Signal::STOP).is_ok())
    };
    while stopped().count() == 0 {
        assert!(Instant::now() < deadline, "a tool makes it");
    }
    server.signal(Signal::TERM);
    let ask = |path: &str| Request::get(path).send(server.address);
    while ask("/readyz").status == 200 {
        assert!(Instant::now() < deadline, "it says that it stops");
    }
    ask("/readyz").assert_problem(503, "shutting_down");
    assert_eq!(ask("/healthz").status, 200);
    assert_eq!(ask("/metrics").status, 200);
    assert_eq!(server.ended(STOP).code(), Some(0));
    place.assert_no_survivors();
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

/// A job on Postgres that two servers know of and one of two workers encodes.
struct Encoding {
    /// The worker that encodes it, and the other one.
    victim: Server,
    other: Server,
    servers: [Server; 2],
    place: Workplace,
    _database: PostgresSchema,
    job: String,
    events: Stream,
    /// The step that has saved a checkpoint.
    step: String,
    /// The session of the victim.
    session: String,
}

impl Encoding {
    /// A job on `sources/film.mp4`, which `source` makes.
    fn begin(source: impl FnOnce(&Workplace)) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let database = runtime.block_on(PostgresSchema::create());
        let place = Workplace::new();
        source(&place);
        let servers = [0; 2].map(|_| Server::start(on_postgres(&place, "server", &database)));
        let workers = [0; 2].map(|_| worker(&place, &database, free_port()));
        for worker in &workers {
            assert_eq!(Request::get("/readyz").send(worker.address).status, 200);
            assert_eq!(Request::get("/api/jobs").send(worker.address).status, 404);
        }
        let job = transcode(&servers[0], "film.mp4");
        let mut events = Request::get(&format!("{job}/events")).stream(servers[1].address);
        let (step, session) = first_checkpoint(&mut events);
        let pid = runtime.block_on(process_of(&database, &session));
        let [one, two] = workers;
        let (victim, other) = match one.pid() == pid {
            true => (one, two),
            false => (two, one),
        };
        assert_eq!(victim.pid(), pid);
        Self {
            victim,
            other,
            servers,
            place,
            _database: database,
            job,
            events,
            step,
            session,
        }
    }

    /// Lets the tools of the victim stand still. Answers a step that is in the middle of one, which need not be
    /// the one that has saved a checkpoint: that may have ended since.
    fn stand_still(&self) -> String {
        let deadline = Instant::now() + STOP;
        loop {
            let pid = self.victim.pid();
            for tool in children_of(pid) {
                let _ = kill_process(tool, Signal::STOP);
            }
            // What needs no tool any more ends meanwhile.
            std::thread::sleep(Duration::from_millis(300));
            let document = Request::get(&self.job).send(self.servers[0].address).json();
            let steps = document["steps"].as_array().expect("steps");
            let running: Vec<&str> = steps.iter().filter_map(|step| self.runs(step)).collect();
            // Each has one.
            let stopped = children_in(pid, "T").len();
            let mut encoded = running.iter().filter(|step| step.starts_with("encode"));
            if let Some(step) = encoded.next().filter(|_| stopped == running.len()) {
                return (*step).to_owned();
            }
            assert!(Instant::now() < deadline, "nothing to stop: {document:#}");
            for tool in children_of(pid) {
                let _ = kill_process(tool, Signal::CONT);
            }
        }
    }

    /// The name of a step that the victim is at work on.
    fn runs<'a>(&self, step: &'a Value) -> Option<&'a str> {
        let attempts = step["attempts"].as_array();
        let last = attempts.and_then(|attempts| attempts.last());
        let is_its = last.is_some_and(|last| last["worker"] == *self.session);
        (is_its && step["status"] == "running").then(|| step["id"].as_str())?
    }
}

/// The step that is encoded, once it has a checkpoint, and the session that does it.
fn first_checkpoint(events: &mut Stream) -> (String, String) {
    let mut sessions = std::collections::BTreeMap::new();
    loop {
        let event = events.next().expect("it encodes first");
        let step = event["step"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("step.claimed") => {
                let session = event["data"]["worker"].as_str().expect("a session");
                sessions.insert(step, session.to_owned());
            }
            Some("step.checkpoint") if step.starts_with("encode") => {
                let session = sessions[&step].clone();
                return (step, session);
            }
            _ => {}
        }
    }
}

/// How long after a moment somebody began with a step again, once its job has succeeded.
fn taken_over(events: &mut Stream, step: &str, since: DateTime<Utc>) -> Duration {
    let mut begun = None;
    let end = loop {
        let event = events.next().expect("it goes on to its end");
        let claimed = event["kind"] == "step.claimed" && event["step"] == step;
        if claimed && begun.is_none() {
            begun = Some(time(&event)).filter(|at| *at > since);
        }
        let kind = event["kind"].as_str().unwrap_or_default();
        if kind.starts_with("run.") {
            break kind.to_owned();
        }
    };
    assert_eq!(end, "run.succeeded");
    let took = (begun.expect("somebody took over") - since).to_std();
    let took = took.expect("after the loss");
    eprintln!("{step} was taken over after {took:?}");
    took
}

#[test]
fn a_job_goes_on_when_its_worker_is_killed_among_servers_and_workers_on_postgres() {
    let mut encoding = Encoding::begin(|place| {
        std::fs::create_dir_all(place.path().join("sources")).expect("a directory");
        std::fs::copy(product::small_clip(), place.path().join("sources/film.mp4"))
            .expect("a copy");
    });
    let killed_at = Utc::now();
    drop(encoding.victim);
    let took = taken_over(&mut encoding.events, &encoding.step, killed_at);
    assert!(took < TAKE_OVER, "it took {took:?}");
    let document = Request::get(&encoding.job).send(encoding.servers[1].address);
    let document = document.json();
    let lost = outcomes(&document)
        .into_iter()
        .filter(|it| *it == "lost")
        .count();
    assert!(lost > 0, "{document:#}");
    // Whichever of them found it dead.
    let [one, two] = &encoding.servers;
    let told: usize = [&encoding.other, one, two].map(lost_attempts).iter().sum();
    assert_eq!(told, lost);
}

/// Attempts of dead workers that a process says it has ended.
fn lost_attempts(process: &Server) -> usize {
    let metrics = Request::get("/metrics").send(process.address).text();
    let lines = metrics.lines().filter(|line| {
        line.starts_with("telecine_attempts_total{") && line.contains("outcome=\"lost\"")
    });
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    numbers.sum()
}

/// However far that segment is from its end: here it never ends.
#[test]
fn a_worker_that_is_told_to_stop_in_the_middle_of_a_segment_hands_its_step_over() {
    let encoding = Encoding::begin(|place| clip(place, ("sources", "film.mp4"), 45));
    let step = encoding.stand_still();
    let Encoding {
        victim,
        other,
        servers,
        place,
        job,
        mut events,
        ..
    } = encoding;
    let told_at = Utc::now();
    victim.signal(Signal::TERM);
    let took = taken_over(&mut events, &step, told_at);
    assert!(took < TAKE_OVER, "it took {took:?}");
    assert_eq!(victim.ended(STOP).code(), Some(0));
    let document = Request::get(&job).send(servers[1].address).json();
    assert!(outcomes(&document).contains(&"released"), "{document:#}");
    assert!(!outcomes(&document).contains(&"lost"), "{document:#}");
    drop((other, servers));
    place.assert_no_survivors();
}

/// The processes that a process has started and that have not ended.
fn children_of(parent: u32) -> Vec<Pid> {
    children_in(parent, "RSDTt")
}

/// Those in one of these states.
fn children_in(parent: u32, states: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").expect("a /proc to look into");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: its state and its parent.
        let behind = stat.rsplit_once(')').map(|(_, behind)| behind.to_owned());
        let behind = behind.unwrap_or_default();
        let mut words = behind.split_whitespace();
        words.next().is_some_and(|state| states.contains(state))
            && words.next() == Some(&parent.to_string())
    };
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
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
