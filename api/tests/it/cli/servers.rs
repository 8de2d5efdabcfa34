//! The same commands on a server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use serde_json::json;

use super::Answer;
use crate::http::process::{Server, clip};
use crate::product::Workplace;

const KEY: &str = "00112233445566778899aabbccddeeff";
const READ: &str = "ffeeddccbbaa99887766554433221100";

/// A server with keys that works on what it accepts, and a clip of a second.
fn server(place: &Workplace) -> Server {
    clip(place, ("sources", "film.mp4"), 1);
    let mut command = Server::command(place, "all");
    command.env(
        "TELECINE_API_KEYS",
        format!("ci:{KEY},eye:{READ}=jobs:read"),
    );
    Server::start(command)
}

/// A command for a server, from a directory that has no jobs of its own.
fn asking(place: &Workplace, server: &Server, arguments: &[&str]) -> Command {
    let mut command = place.telecine(arguments);
    command
        .arg("--server")
        .arg(format!("http://{}", server.address));
    command
}

fn ask(place: &Workplace, server: &Server, arguments: &[&str]) -> Answer {
    let mut command = asking(place, server, arguments);
    command.env("TELECINE_API_KEY", KEY);
    Answer::of(command)
}

#[test]
fn commands_answer_the_same_of_a_server_as_of_its_database() {
    let place = Workplace::new();
    let server = server(&place);
    let ask = |arguments: &[&str]| ask(&place, &server, arguments);
    let submitted = ask(&[
        "run",
        "video:cover",
        "film.mp4",
        "--set",
        "cover.at_s=0.5",
        "-o",
        "json",
    ]);
    assert_eq!(submitted.code, Some(0), "{submitted:#?}");
    let job = submitted.json()["id"].clone();
    let job = job.as_str().expect("an id");
    assert!(submitted.stderr.contains("jobs watch"), "{submitted:#?}");
    let watched = ask(&["jobs", "watch", "@last", "-o", "json"]);
    assert_eq!(
        (watched.code, &watched.json()["status"]),
        (Some(0), &json!("succeeded")),
        "{watched:#?}"
    );
    for arguments in [
        ["jobs", "list", "-o", "json"].as_slice(),
        &["jobs", "list", "--status", "succeeded", "--limit", "1"],
        &["jobs", "list", "--type", "video:full", "-o", "jsonl"],
        &["jobs", "get", job, "-o", "json"],
        &["jobs", "get", &job[..29], "--all"],
        &["jobs", "events", "@last", "-o", "json"],
        &["jobs", "events", "@last", "--follow", "--after", "3"],
        &["jobs", "events", "@last", "--limit", "2", "-o", "jsonl"],
        &["workflow", "list", "-o", "json"],
        &["workflow", "list"],
    ] {
        let (told, known) = (ask(arguments), place.call(arguments));
        assert_eq!(told.code, Some(0), "{told:#?}");
        assert_eq!(told.stdout, known.stdout, "{arguments:?}");
    }
    ask(&["jobs", "cancel", job]).assert_error(1, &["is succeeded already"]);
    for again in [["jobs", "retry", job], ["plan", "show", job]] {
        ask(&again).assert_error(1, &["is succeeded: there is nothing to retry"]);
    }
    ask(&["jobs", "cancel", ""]).assert_error(2, &["every job"]);
    let nobody = "job_00000000000000000000000000";
    ask(&["plan", "show", nobody]).assert_error(3, &["there is no job"]);
}

#[test]
fn a_job_on_a_server_is_cancelled_and_retried() {
    let place = Workplace::new();
    clip(&place, ("sources", "film.mp4"), 1);
    // Nobody works on it.
    let server = Server::start(Server::command(&place, "server"));
    let ask = |arguments: &[&str]| ask(&place, &server, arguments);
    let submitted = ask(&[
        "run",
        "video:cover",
        "film.mp4",
        "--queue",
        "critical",
        "-o",
        "json",
    ]);
    assert_eq!(submitted.json()["queue"], "critical", "{submitted:#?}");
    let waited = ask(&["jobs", "watch", "@last", "--timeout", "100ms"]);
    assert_eq!(waited.code, Some(124), "{waited:#?}");
    let cancelled = ask(&[
        "jobs",
        "cancel",
        "@last",
        "--reason",
        "wrong film",
        "-o",
        "json",
    ]);
    let message = "cancelled by api: wrong film";
    assert_eq!(
        cancelled.json()["error"]["message"],
        message,
        "{cancelled:#?}"
    );
    let again = ask(&["jobs", "cancel", "@last", "-o", "json"]);
    assert_eq!((again.code, again.json()), (Some(0), cancelled.json()));
    let retried = ask(&["jobs", "retry", "@last", "-o", "json"]);
    assert_eq!(retried.json()["round"], 2, "{retried:#?}");
    // The same without a server.
    place.call(&["jobs", "cancel", "@last"]);
    let retried = place.call(&["jobs", "retry", "@last", "-o", "json"]);
    assert_eq!(retried.json()["round"], 3, "{retried:#?}");
    place
        .call(&["jobs", "retry", "@last"])
        .assert_error(1, &["there is nothing to retry"]);
}

#[test]
fn what_a_server_refuses_is_said_with_what_to_do() {
    let place = Workplace::new();
    let server = server(&place);
    let with = |key: Option<&str>, arguments: &[&str]| {
        let mut command = asking(&place, &server, arguments);
        match key {
            Some(key) => command.env("TELECINE_API_KEY", key),
            None => command.env_remove("TELECINE_API_KEY"),
        };
        Answer::of(command)
    };
    with(None, &["jobs", "list"]).assert_error(2, &["refuses", "set TELECINE_API_KEY"]);
    with(Some("00"), &["jobs", "list"]).assert_error(2, &["none of this server"]);
    with(Some(READ), &["run", "video:cover", "film.mp4"]).assert_error(2, &["scope jobs:write"]);
    let file = place.write("key", &format!("{KEY}\n"));
    let mut command = asking(
        &place,
        &server,
        &["jobs", "get", "job_00000000000000000000000000"],
    );
    command.env("TELECINE_API_KEY_FILE", file);
    Answer::of(command).assert_error(3, &["there is no job job_0000"]);
    let run = |more: &[&str]| with(Some(KEY), &[&["run", "video:cover"], more].concat());
    run(&["none.mp4"]).assert_error(2, &["there is no object none.mp4"]);
    run(&["film.mp4", "--out", "x"]).assert_error(2, &["--out"]);
    let plan = ["workflow", "plan", "video:cover", "film.mp4"];
    with(Some(KEY), &plan).assert_error(2, &["asks no server", "--database-url"]);
    let wrong = run(&["film.mp4", "--set", "cover.at=1"]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert!(wrong.stderr.contains("/input/cover/at"), "{wrong:#?}");
}

#[test]
fn a_server_that_is_none_or_is_not_there_is_named() {
    let place = Workplace::new();
    let call = |url: &str| place.call(&["jobs", "list", "--server", url]);
    call("http://127.0.0.1:1").assert_error(5, &["http://127.0.0.1:1/ cannot be reached"]);
    call("127.0.0.1").assert_error(2, &["--server", "no address such as http://"]);
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in other.incoming() {
            let mut stream = stream.expect("a caller");
            let _ = stream.read(&mut [0; 4096]);
            let page = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
            let _ = stream.write_all(page.as_bytes());
        }
    });
    call(&format!("http://{address}/below")).assert_error(2, &["it is no server of telecine"]);
    assert!(!place.data().exists(), "nothing was made");
}
