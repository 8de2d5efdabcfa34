//! Who may do what.

use super::client::Request;
use super::description::Description;
use super::process::Server;
use crate::product::{self, Workplace};

const ALL: &str = "00112233445566778899aabbccddeeff";
const READ: &str = "ffeeddccbbaa99887766554433221100";
const NOTHING: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn server(place: &Workplace) -> Server {
    let mut command = Server::command(place, "server");
    let keys = format!("ci:{ALL},eye:{READ}=jobs:read,tool:{NOTHING}=workers");
    command.env("TELECINE_API_KEYS", keys);
    Server::start(command)
}

#[test]
fn every_route_of_the_api_wants_a_key_with_its_scope() {
    let place = Workplace::new();
    let server = server(&place);
    for (method, path, scopes) in Description::of(server.address).operations() {
        let send = |key: Option<&str>| {
            let request = Request::new(&method, &path);
            let request = match key {
                Some(key) => request.header("x-api-key", key),
                None => request,
            };
            request.send(server.address)
        };
        if !path.starts_with("/api/") || path == "/api/openapi.json" {
            assert!(scopes.is_empty(), "{method} {path}");
            assert_eq!(send(None).status, 200, "{method} {path}");
            continue;
        }
        assert_eq!(scopes.len(), 1, "{method} {path} names its scope");
        send(None).assert_problem(401, "unauthorized");
        send(Some("00112233445566778899aabbccddeef0")).assert_problem(401, "unauthorized");
        send(Some(NOTHING)).assert_problem(403, "forbidden");
        assert_ne!(send(Some(ALL)).status, 403, "{method} {path}");
        let reads = scopes == ["jobs:read"];
        assert_eq!(send(Some(READ)).status == 403, !reads, "{method} {path}");
    }
}

#[test]
fn a_server_that_everybody_could_reach_is_not_started_without_keys() {
    let place = Workplace::new();
    let mut command = Server::command(&place, "server");
    command.env("TELECINE_LISTEN", "0.0.0.0:0");
    let output = product::output(command);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("TELECINE_API_KEYS"), "{said}");

    let output = product::output(place.telecine(&["dev", "--listen", "0.0.0.0:0"]));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this machine only"), "{said}");
}

/// What a page of another site has a browser send, under its own name or under one that it had made to
/// mean this machine.
#[test]
fn a_page_of_another_site_gets_nothing_of_a_server_without_keys() {
    let place = Workplace::new();
    let development = Server::development(&place);
    let ask = |path: &str, (name, value): (&str, &str)| {
        let request = Request::get(path).header(name, value);
        request.send(development.address)
    };
    for path in ["/api/jobs", "/docs", "/metrics"] {
        let rebound = ask(path, ("host", "evil.example:3000"));
        rebound.assert_problem(421, "foreign_host");
        let cross_origin = ask(path, ("origin", "http://evil.example"));
        cross_origin.assert_problem(403, "foreign_origin");
        assert_eq!(ask(path, ("host", "[::1]:3000")).status, 200, "{path}");
        let beside = ask(path, ("origin", "http://localhost:5173"));
        assert_eq!(beside.status, 200, "{path}");
    }
    let place = Workplace::new();
    let keyed = server(&place);
    let request = Request::get("/api/jobs").header("x-api-key", ALL);
    let named = request.header("host", "video.example");
    assert_eq!(named.send(keyed.address).status, 200);
}

#[test]
fn a_key_is_never_shown() {
    let place = Workplace::new();
    let mut command = place.telecine(&["config", "show", "--origin", "-o", "json"]);
    command.env("TELECINE_API_KEYS", format!("ci:{ALL}"));
    let output = product::output(command);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("***") && !shown.contains(ALL), "{shown}");
    let mut command = place.telecine(&["config", "show"]);
    command.env("TELECINE_API_KEYS", format!("ci:{ALL}x"));
    let output = product::output(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("hex digits") && !said.contains(ALL), "{said}");
}

#[test]
fn a_server_that_lacks_something_says_what_to_set() {
    let place = Workplace::new();
    for missing in ["TELECINE_SOURCE_URL", "TELECINE_MEDIA_URL"] {
        let mut command = Server::command(&place, "all");
        command.env_remove(missing);
        let output = product::output(command);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(missing), "{said}");
    }
    let mut command = Server::command(&place, "everything");
    command.env("TELECINE_LISTEN", "here");
    let output = product::output(command);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("--mode") && said.contains("TELECINE_LISTEN"),
        "{said}"
    );
}
