//! The activity on a stage, and the program from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use hello_activity::Greet;
use serde_json::{Value, json};
use telecine::activity::ErrorClass;
use telecine::testing::Stage;

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
    let home = empty_directory();
    let output = Command::new(env!("CARGO_BIN_EXE_hello-activity"))
        .args(["run", "hello:party", "-o", "json", "--input"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/example.json"))
        .current_dir(&home)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let job: Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = job["output"]["cards"][0]["key"].as_str().unwrap();
    let card = std::fs::read_to_string(home.join("out").join(key)).unwrap();
    assert_eq!(card, "Hello, Ada!\n");
}

/// An empty directory for the job, below the one that Cargo gives to tests.
fn empty_directory() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_PKG_NAME"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}
