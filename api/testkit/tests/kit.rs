//! The conformance kit finds every kind of mistake, and nothing where there is none.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use telecine::testing::{Check, Report};

/// Far more than an activity of this program takes.
const LIMIT: Duration = Duration::from_secs(5);

/// Those of this program do not look into their source: a text will do.
const ACCEPTED: &str = "note bad_source_accepted";

/// What the kit reports of an activity.
fn report(activity: &str, input: Value) -> Report {
    let mut check = Check::new(env!("CARGO_BIN_EXE_telecine-misbehaving"), activity);
    let how = how_of(&input);
    if how.starts_with("blame") || how.ends_with("source") {
        check = check.source(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    }
    if how == "hang" {
        check = check.limit(LIMIT);
    }
    let report = check.input(input).run();
    report.expect("the activity can be checked")
}

fn how_of(input: &Value) -> &str {
    input["how"].as_str().unwrap_or_default()
}

/// What the kit finds about an activity, and what it only notes.
fn found(activity: &str, input: Value) -> Vec<String> {
    let report = report(activity, input.clone());
    let notes = report.notes.iter().map(|note| format!("note {}", note.id));
    let findings = report.findings.iter().map(|finding| finding.id.to_owned());
    let mut found: Vec<_> = findings.chain(notes).collect();
    if how_of(&input) == "block_thread_when_drained" {
        // The worker of a run that is cancelled shuts down too: a slow attempt hears of both.
        found.retain(|id| id != "ignores_cancel");
    }
    found
}

/// Each way of being wrong, and what is found of it. Most of the time is spent waiting, so all
/// are checked at once.
fn assert_found(cases: &[(&str, &[&str])]) {
    assert_found_of("wrong.step", cases);
}

fn assert_found_of(activity: &str, cases: &[(&str, &[&str])]) {
    std::thread::scope(|scope| {
        let checks = cases.iter().map(|(how, expected)| {
            let check = scope.spawn(move || found(activity, json!({"how": how})));
            (how, expected, check)
        });
        for (how, expected, check) in checks.collect::<Vec<_>>() {
            assert_eq!(check.join().expect("a check"), *expected, "{how}");
        }
    });
}

#[test]
fn an_activity_that_behaves_has_no_findings() {
    assert_found(&[("behave", &[])]);
}

#[test]
fn an_activity_that_cannot_run_is_found_out() {
    assert_found(&[
        ("fail", &["fails"]),
        ("panic", &["panics", "fails"]),
        ("end_process", &["ends_process"]),
        ("hang", &["hangs", "fails"]),
        ("cry_with_bad_code", &["bad_error_code", "fails"]),
    ]);
}

#[test]
fn mistakes_with_objects_and_progress_are_found() {
    assert_found(&[
        ("lose_artifact", &["artifact_missing"]),
        ("name_nothing", &["artifact_missing"]),
        ("misstate_artifact", &["artifact_differs"]),
        ("hide_object", &["unlisted_object"]),
        ("overwrite_object", &["object_overwritten"]),
        ("count_backwards", &["progress_falls"]),
        ("report_too_much", &["bad_percent"]),
    ]);
}

#[test]
fn mistakes_when_it_runs_again_are_found() {
    assert_found(&[
        // The attempt that is drained is one more that finds traces.
        ("trip_over_itself", &["fails_again", "fails_when_drained"]),
        ("fail_second_time", &["fails_when_resumed"]),
        ("ignore_checkpoint", &["checkpoint_ignored"]),
        ("redo_work", &["work_redone"]),
        ("lose_pieces", &["output_differs"]),
        ("vary", &["note output_varies"]),
    ]);
}

#[test]
fn mistakes_when_it_mends_are_found() {
    let cases: [(&str, &[&str]); 5] = [
        ("behave", &[]),
        ("make_all_again", &["mends_too_much"]),
        ("leave_it", &["not_mended"]),
        ("give_up", &["fails_when_mended"]),
        ("save_nothing", &["nothing_to_mend"]),
    ];
    assert_found_of("mending.pages", &cases);
}

#[test]
fn mistakes_when_it_is_told_to_stop_are_found() {
    assert_found(&[
        ("ignore_cancel", &["ignores_cancel"]),
        ("ignore_drain", &["ignores_drain"]),
        ("fail_when_drained", &["fails_when_drained"]),
        ("end_early_when_drained", &["output_differs"]),
        ("block_thread_when_cancelled", &["ignores_cancel"]),
        ("block_thread_when_drained", &["ignores_drain"]),
    ]);
}

#[test]
fn what_it_leaves_behind_is_found() {
    assert_found(&[
        ("leave_process", &["leaves_processes"]),
        ("leave_file", &["leaves_files"]),
        ("leave_file_at_home", &["leaves_files"]),
        ("print", &["prints"]),
        ("leave_scratch", &["leaves_scratch"]),
    ]);
}

#[test]
fn errors_that_blame_the_wrong_one_are_found() {
    assert_found(&[
        ("blame_itself", &["bad_source_is_a_bug", ACCEPTED]),
        ("blame_the_weather", &["bad_source_is_retried", ACCEPTED]),
        ("overlook_source", &[ACCEPTED]),
    ]);
}

#[test]
fn what_it_does_to_its_source_is_found_and_the_source_is_as_it_was() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let before = std::fs::read(&own).expect("a source");
    assert_found(&[
        ("eat_source", &["source_changed", ACCEPTED]),
        ("remove_source", &["source_changed", ACCEPTED]),
    ]);
    assert_eq!(std::fs::read(&own).expect("a source"), before);
}

#[test]
fn schemas_that_are_wrong_are_found() {
    let unclosed = found("loose.unclosed", json!({"number": 1}));
    assert_eq!(unclosed, ["unknown_fields_accepted"]);
    let untyped = found("loose.untyped", json!({"anything": 1}));
    assert_eq!(untyped, ["note input_untyped"]);
    let mistyped = found("loose.mistyped", json!({}));
    assert_eq!(mistyped, ["output_breaks_schema"]);
}
