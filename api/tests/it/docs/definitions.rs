//! Workflows in the documentation are valid.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository::{files, read, relative};

#[test]
fn every_workflow_in_the_documentation_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for file in files("md") {
        for (n, definition) in definitions(&read(&file)).enumerate() {
            let place = format!("{}-{n}.yaml", relative(&file).replace('/', "-"));
            validate(&dir.path().join(place), &definition);
            seen += 1;
        }
    }
    assert!(seen > 0, "the documentation shows no workflow at all");
}

fn validate(file: &Path, definition: &str) {
    fs::write(file, definition).expect("the temporary directory can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_telecine"))
        .args(["workflow", "validate"])
        .arg(file)
        .output()
        .expect("telecine runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{definition}");
}

/// YAML blocks that begin a workflow, comments aside.
fn definitions(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks
        .filter(|block| block.lines().any(|line| line.starts_with("workflow:")))
        .map(str::to_owned)
}
