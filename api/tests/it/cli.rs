//! What the command line says, and how it ends, when something is wrong.

use std::path::PathBuf;

use serde_json::Value;

use crate::product::{self, Workplace};

/// Exit code, standard output and standard error of a command.
fn told(place: &Workplace, arguments: &[&str]) -> (i32, String, String) {
    let output = product::output(place.telecine(arguments));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("an exit code");
    (code, text(&output.stdout), text(&output.stderr))
}

fn write(place: &Workplace, name: &str, text: &str) -> PathBuf {
    let path = place.path().join(name);
    std::fs::write(&path, text).expect("a file to write");
    path
}

#[test]
fn five_mistakes_of_a_workflow_are_all_shown_where_they_are() {
    let place = Workplace::new();
    write(
        &place,
        "bad.yaml",
        "workflow: my:video\n\
         version: 1\n\
         input: {type: object, properties: {source: {type: string}}}\n\
         steps:\n\
         \x20 probe: {activity: media.prob@1, with: {source: \"${{ input.source }}\"}}\n\
         \x20 plan:\n\
         \x20   activity: video.plan_chunks@1\n\
         \x20   with: {probe: \"${{ steps.prbe.output }}\"}\n\
         \x20   timeout: {attempt: soon}\n\
         \x20   on_failur: continue\n\
         \x20 cover: {activity: media.allocate@1, needs: [plan], with: {sha256: 12}}\n\
         output: {}\n",
    );
    let (code, stdout, stderr) = told(&place, &["workflow", "validate", "bad.yaml"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    for (at, code, help) in [
        ("bad.yaml:5:", "unknown_activity", "media.probe@1"),
        ("bad.yaml:8:", "unknown_step", "probe"),
        ("bad.yaml:9:", "bad_duration", ""),
        ("bad.yaml:10:", "unknown_key", "on_failure"),
        ("bad.yaml:11:", "bad_type", ""),
    ] {
        let found = stderr
            .split("\n\n")
            .chain(stderr.lines())
            .any(|part| part.contains(at) && part.contains(code));
        assert!(found, "{at} {code} in:\n{stderr}");
        assert!(stderr.contains(help), "{help} in:\n{stderr}");
    }
    assert!(
        stderr
            .lines()
            .filter(|line| line.trim_start_matches([' ', '|']).starts_with('^'))
            .count()
            >= 5,
        "{stderr}"
    );
}

#[test]
fn what_is_missing_is_named_and_ends_with_three() {
    let place = Workplace::new();
    for (arguments, named) in [
        (&["run", "video:full", "nowhere.mp4"][..], "nowhere.mp4"),
        (&["run", "video:ful", "nowhere.mp4"], "video:ful"),
        (&["workflow", "validate", "nowhere.yaml"], "nowhere.yaml"),
        (&["activity", "describe", "video.enhance"], "video.enhance"),
        (&["jobs", "get", "job_0"], "no job"),
    ] {
        let (code, _, stderr) = told(&place, arguments);
        assert_eq!(code, 3, "{arguments:?}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(named),
            "{arguments:?}: {stderr}"
        );
        assert_eq!(
            stderr.trim_end().lines().count(),
            1,
            "one sentence: {stderr}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let place = Workplace::new();
    write(&place, "film.mp4", "no film");
    write(&place, "file", "in the place of a directory");
    for (arguments, named) in [
        (
            &["run", "video:full", "film.mp4", "--out", "file/out"][..],
            "file/out",
        ),
        (&["run", "video:full", "."], "directory"),
        (
            &[
                "run",
                "video:full",
                "film.mp4",
                "--set",
                "preview.width=wide",
            ],
            "/preview/width",
        ),
        (
            &["run", "video:full", "film.mp4", "--set", "colour=red"],
            "colour",
        ),
        (&["run", "video:full"], "source"),
        (
            &[
                "run",
                "video:full",
                "film.mp4",
                "--worker-concurrency",
                "none",
            ],
            "--worker-concurrency",
        ),
        (&["run", "--nonsense"], "--nonsense"),
    ] {
        let (code, stdout, stderr) = told(&place, arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(named) && stdout.is_empty(),
            "{arguments:?}: {stderr}"
        );
    }
    assert!(
        !place.data().join("telecine.db").exists(),
        "no job was made"
    );
}

#[test]
fn every_mistake_of_the_configuration_is_listed() {
    let place = Workplace::new();
    write(
        &place,
        "telecine.toml",
        "worker_concurency = 4\nlog_format = \"xml\"\n",
    );
    let mut command = place.telecine(&["config", "show"]);
    command.env("TELECINE_WORKER_SHUTDOWN_TIMEOUT", "soon");
    let output = product::output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for named in ["worker_concurency", "log_format", "WORKER_SHUTDOWN_TIMEOUT"] {
        assert!(
            stderr.to_lowercase().contains(&named.to_lowercase()),
            "{named} in {stderr}"
        );
    }
}

#[test]
fn a_failed_job_shows_what_would_run_again_and_why() {
    let place = Workplace::new();
    let path = write(&place, "film.mp4", "no film");
    let output = product::output(place.run("video:full", &path));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(document["error"]["step"], "probe");
    let plan = &document["retry_plan"];
    assert_eq!(plan["executable"], false);
    assert_eq!(plan["steps"][0]["reason"], "failed_permanent");
    let id = document["id"].as_str().expect("an id");
    for name in ["@last", id, &id[..id.len() - 1]] {
        let (code, stdout, stderr) = told(&place, &["jobs", "get", name, "-o", "json"]);
        assert_eq!(code, 0, "{stderr}");
        let again: Value = serde_json::from_str(&stdout).expect("one JSON document");
        assert_eq!(again["id"], document["id"]);
    }
    let (code, stdout, _) = told(
        &place,
        &["jobs", "list", "--status", "failed", "-o", "jsonl"],
    );
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}");
}
