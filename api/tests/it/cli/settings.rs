use super::Answer;
use crate::product::Workplace;

#[test]
fn every_mistake_in_the_settings_is_listed_at_once() {
    let place = Workplace::new();
    place.write("telecine.toml", "log_format = 'xml'\nworkers = 3\n");
    place.write(".env", "TELECINE_WORKER_SHUTDOWN_TIMEOUT=soon\n");
    let mut command = place.telecine(&["jobs", "list", "--log", "a=b=c"]);
    command.env("TELECINE_WORKER_CONCURRENCY", "many");
    let answer = Answer::of(command);

    assert_eq!(answer.code, Some(2), "{answer:#?}");
    for says in [
        "telecine.toml: workers is not a setting",
        "telecine.toml: log_format",
        ".env: TELECINE_WORKER_SHUTDOWN_TIMEOUT",
        "TELECINE_WORKER_CONCURRENCY",
        "--log",
    ] {
        let line = answer.stderr.lines().find(|line| line.contains(says));
        assert!(
            line.is_some_and(|line| line.starts_with("error: ")),
            "{says}: {answer:#?}"
        );
    }
    assert_eq!(answer.stderr.lines().count(), 5, "{answer:#?}");
}

#[test]
fn settings_say_where_they_come_from() {
    let place = Workplace::new();
    place.write("telecine.toml", "worker_concurrency = 3\nlog = 'info'\n");
    place.write(".env", "TELECINE_LOG=debug\nTELECINE_LOG_FORMAT=json\n");
    place.write(".env.local", "TELECINE_LOG=trace\n");
    let mut command = place.telecine(&["config", "show", "--origin", "-o", "json"]);
    command.env("TELECINE_LOG_FORMAT", "text");
    let settings = Answer::of(command).json();

    let data = place.data();
    let expected = [
        ("worker_concurrency", "3", "telecine.toml"),
        ("log", "trace", ".env.local"),
        ("log_format", "text", "environment"),
        ("worker_shutdown_timeout", "10m", "default"),
        ("data_dir", data.to_str().unwrap(), "flag"),
    ];
    for (name, value, origin) in expected {
        assert_eq!(settings[name]["value"], value, "{name}");
        assert_eq!(settings[name]["origin"], origin, "{name}");
    }
}

#[test]
fn tables_are_plain_where_there_is_no_terminal() {
    let answer = Workplace::new().call(&["config", "show"]);
    assert!(answer.stdout.starts_with("SETTING"), "{answer:#?}");
    assert!(!answer.stdout.contains('\u{1b}'), "{answer:#?}");
}
