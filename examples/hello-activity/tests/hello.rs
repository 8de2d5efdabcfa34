//! The activity on a stage, and the program from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use hello_activity::Greet;
use serde_json::{Value, json};
use telecine::activity::ErrorClass;
use telecine::testing::Stage;

/// The program that is built from here.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hello-activity");

#[test]
fn every_guest_gets_a_card() {
    let stage = Stage::new();
    let made = stage
        .run(Greet, json!({"guests": ["Ada", "Grace"]}))
        .unwrap();
    let cards = made.output["cards"].as_array().unwrap();
    let key = cards[1]["key"].as_str().unwrap();
    assert_eq!(cards.len(), 2);
    assert_eq!(stage.object(key), b"Hello, Grace!\n");
}

#[test]
fn a_guest_without_a_name_is_refused() {
    let error = Stage::new()
        .run(Greet, json!({"guests": [" "]}))
        .unwrap_err();
    assert_eq!(
        (error.class, &*error.code),
        (ErrorClass::Input, "nameless_guest")
    );
}

#[test]
fn it_runs_as_a_step_of_its_workflow() {
    let home = empty_directory("step");
    let card = first_card(&home);
    assert_eq!(std::fs::read_to_string(&card).unwrap(), "Hello, Ada!\n");
}

#[test]
fn a_card_that_is_gone_is_made_again() {
    let home = empty_directory("gone");
    let card = first_card(&home);
    std::fs::remove_file(&card).unwrap();
    let again = first_card(&home);
    assert_eq!(std::fs::read_to_string(again).unwrap(), "Hello, Ada!\n");
}

/// Runs the workflow, and answers where the first card is.
fn first_card(home: &Path) -> PathBuf {
    let output = Command::new(PROGRAM)
        .arg("run")
        .arg("hello:party")
        .args(["-o", "json", "--input"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/example.json"))
        .current_dir(home)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let job: Value = serde_json::from_slice(&output.stdout).expect("a job");
    let key = job["output"]["cards"][0]["key"].as_str().expect("a key");
    home.join("out").join(key)
}

/// An empty directory for the job, below the one that Cargo gives to tests.
fn empty_directory(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_PKG_NAME"));
    let path = tests.join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}
