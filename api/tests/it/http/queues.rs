//! Where jobs wait, and what rings when they do.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use telecine_testkit::servers::PostgresSchema;

use super::client::Request;
use super::process::{Server, clip};
use crate::product::Workplace;

/// Far beyond what is usual: machines of tests are busy.
const SOON: Duration = Duration::from_secs(60);

fn submit(server: &Server, more: Value) -> Value {
    let mut request = json!({"type": "video:cover", "source": "film.mp4"});
    let members = more.as_object().expect("an object").clone();
    request.as_object_mut().expect("an object").extend(members);
    let accepted = Request::post("/api/jobs", &request).send(server.address);
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    accepted.json()
}

#[test]
fn jobs_wait_where_their_source_or_their_request_says() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    let mut command = Server::command(&place, "server");
    command.env("TELECINE_LARGE_FILE_THRESHOLD", "1KiB");
    let server = Server::start(command);
    let large = submit(&server, json!({}));
    assert_eq!(
        (&large["queue"], &large["priority"]),
        (&json!("video:large"), &json!(0))
    );
    let asked = json!({"queue": "critical", "priority": 7, "options": {"cover": {"at_s": 0.5}}});
    let critical = submit(&server, asked);
    assert_eq!(
        (&critical["queue"], &critical["priority"]),
        (&json!("critical"), &json!(7))
    );
    let metrics = Request::get("/metrics")
        .send(server.address)
        .text()
        .to_owned();
    for (queue, steps) in [("critical", 1), ("default", 0), ("video:large", 1)] {
        let line = format!("telecine_steps_waiting{{queue=\"{queue}\"}} {steps}");
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[test]
fn a_process_tells_what_it_has_done() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    let server = Server::start(Server::command(&place, "all"));
    succeeds(&server, &submit(&server, json!({})));
    let tells = |line: &str| {
        let metrics = Request::get("/metrics").send(server.address);
        metrics.text().lines().any(|told| told == line)
    };
    // The probe, a place, the cover and its publication.
    for line in [
        "telecine_jobs_created_total 1",
        "telecine_jobs_stopped_total{status=\"succeeded\"} 1",
        "telecine_steps_claimed_total{queue=\"default\"} 4",
        "telecine_steps_waiting{queue=\"default\"} 0",
        "telecine_attempts_total{activity=\"video.cover@1\",outcome=\"succeeded\"} 1",
        "telecine_attempts_running{activity=\"video.cover@1\"} 0",
        "telecine_attempt_seconds_bucket{activity=\"video.cover@1\",le=\"86400\"} 1",
        "telecine_attempt_seconds_count{activity=\"video.cover@1\"} 1",
        "# TYPE telecine_commit_seconds histogram",
        "# TYPE telecine_commit_requests histogram",
        "# TYPE telecine_commits_total counter",
        "# TYPE telecine_commit_queue gauge",
        "# TYPE telecine_sweeps_total counter",
        "# TYPE telecine_sweep_seconds histogram",
        "# TYPE telecine_http_requests_total counter",
        "# TYPE telecine_lease_renewals_total counter",
        "# TYPE telecine_lease_renewal_seconds histogram",
    ] {
        until(line, || tells(line));
    }
}

/// A Redis in the workplace; killed when dropped.
struct Redis {
    url: String,
    process: Child,
}

impl Redis {
    /// On a socket.
    fn start(place: &Workplace) -> Self {
        let socket = place.path().join("redis.sock");
        let mut command = Self::command();
        command.args(["--port", "0", "--unixsocket"]).arg(&socket);
        let url = format!("redis+unix://{}", socket.display());
        let redis = Self::spawn(command, url);
        until("redis starts", || socket.exists());
        redis
    }

    /// On a port, over TLS only; answers the file with the certificate that it has signed itself, too.
    fn start_with_tls(place: &Workplace) -> (Self, PathBuf) {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let signed = signed.expect("a certificate");
        let file = |name: &str, text: String| {
            let path = place.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let certificate = file("redis.crt", signed.cert.pem());
        let key = file("redis.key", signed.signing_key.serialize_pem());
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("a port").port().to_string();
        drop(free);
        let mut command = Self::command();
        command
            .args(["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port])
            .args(["--tls-auth-clients", "no", "--tls-cert-file"])
            .arg(&certificate)
            .arg("--tls-key-file")
            .arg(key)
            .arg("--tls-ca-cert-file")
            .arg(&certificate);
        let url = format!("rediss://localhost:{port}");
        (Self::spawn(command, url), certificate)
    }

    fn command() -> Command {
        let mut command = Command::new("redis-server");
        command.args(["--save", ""]).stdout(Stdio::null());
        command
    }

    fn spawn(mut command: Command, url: String) -> Self {
        let process = command.spawn();
        let process = process.expect("redis-server: ./x test installs it");
        Self { url, process }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn degraded(server: &Server) -> Value {
    let ready = Request::get("/readyz").send(server.address);
    assert_eq!(ready.status, 200, "{}", ready.text());
    ready.json()["degraded"].clone()
}

fn succeeds(server: &Server, job: &Value) {
    let id = job["id"].as_str().expect("an id");
    let address = format!("/api/jobs/{id}");
    until("the job succeeds", || {
        let document = Request::get(&address).send(server.address).json();
        document["status"] == "succeeded"
    });
}

#[test]
fn without_redis_a_server_and_its_worker_do_the_same_and_say_so() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    let redis = Redis::start(&place);
    let start = |mode: &str| {
        let mut command = Server::command(&place, mode);
        command
            .env("TELECINE_DATABASE_URL", database.url())
            .env("TELECINE_REDIS_URL", &redis.url)
            .env("TELECINE_SCRATCH_DIR", place.path().join(mode));
        Server::start(command)
    };
    let (server, both) = (start("server"), start("all"));
    until("both use redis", || {
        degraded(&server).is_null() && degraded(&both).is_null()
    });
    succeeds(&server, &submit(&server, json!({})));
    let metrics = Request::get("/metrics")
        .send(both.address)
        .text()
        .to_owned();
    assert!(
        metrics.contains("telecine_hints_total{result=\"heard\"}"),
        "the worker heard of it:\n{metrics}"
    );

    drop(redis);
    until("it is told", || degraded(&server)[0].is_string());
    let told = degraded(&server)[0].to_string();
    assert!(told.contains("redis cannot be used"), "{told}");
    succeeds(
        &server,
        &submit(&server, json!({"options": {"cover": {"at_s": 0.5}}})),
    );
}

#[test]
fn redis_is_spoken_to_over_tls_if_its_certificate_is_trusted() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let place = Workplace::new();
    let (redis, certificate) = Redis::start_with_tls(&place);
    let command = || {
        let mut command = Server::command(&place, "server");
        command
            .env("TELECINE_DATABASE_URL", database.url())
            .env("TELECINE_REDIS_URL", &redis.url);
        command
    };
    let mut trusting = command();
    trusting.env("SSL_CERT_FILE", certificate);
    let trusting = Server::start(trusting);
    until("redis is used", || degraded(&trusting).is_null());

    let suspicious = Server::start(command());
    let why = || {
        degraded(&suspicious)[0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until("it is told why", || why().contains("certificate"));
}
