//! Which crate may know which, and what nothing may be called.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository::{files, read, relative, root};

/// The crates of the workspace and which of the others each may depend on.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("telecine-engine", &[]),
    ("telecine-models", &[]),
    ("telecine-testkit", &["telecine-engine"]),
    ("telecine-store-postgres", &["telecine-engine"]),
    ("telecine-store-sqlite", &["telecine-engine"]),
    ("telecine-object-stores", &["telecine-engine"]),
    ("telecine-dispatch-apalis", &["telecine-engine"]),
    ("telecine-activities", &["telecine-engine"]),
    ("telecine-workflows", &["telecine-engine"]),
    (
        "telecine",
        &[
            "telecine-engine",
            "telecine-store-postgres",
            "telecine-store-sqlite",
            "telecine-object-stores",
            "telecine-dispatch-apalis",
            "telecine-activities",
            "telecine-workflows",
        ],
    ),
    ("telecine-misbehaving", &["telecine"]),
    ("hello-activity", &["telecine"]),
    ("watermark-plugin", &["telecine"]),
];

/// What tests of any crate may use beside: test support and the stores it is run on.
const TESTS_MAY_USE: [&str; 5] = [
    "telecine-engine",
    "telecine-testkit",
    "telecine-store-postgres",
    "telecine-store-sqlite",
    "telecine-object-stores",
];

/// Technology and the only crates that may know it.
const KEPT_INSIDE: [(&str, &[&str]); 7] = [
    (
        "sqlx",
        &[
            "telecine-store-postgres",
            "telecine-store-sqlite",
            // Makes and drops the schemas that tests work in.
            "telecine-testkit",
        ],
    ),
    // The testkit makes the bucket that tests work in.
    ("aws", &["telecine-object-stores", "telecine-testkit"]),
    ("apalis", &["telecine-dispatch-apalis"]),
    ("redis", &["telecine-dispatch-apalis"]),
    ("gstreamer", &["telecine-activities"]),
    ("libvips", &["telecine-activities"]),
    ("clap", &["telecine"]),
];

struct Dependency {
    from: String,
    to: String,
    for_tests: bool,
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let allowed = BTreeMap::from(MAY_USE);
    for Dependency {
        from,
        to,
        for_tests,
    } in dependencies()
    {
        let Some(may_use) = allowed.get(from.as_str()) else {
            panic!("say in MAY_USE what {from} may depend on");
        };
        if allowed.contains_key(to.as_str()) {
            let test_support = for_tests && TESTS_MAY_USE.contains(&to.as_str());
            assert!(
                test_support || may_use.contains(&to.as_str()),
                "{from} must not depend on {to}"
            );
        }
    }
}

#[test]
fn databases_media_libraries_and_the_command_line_stay_in_their_crates() {
    for Dependency {
        from,
        to,
        for_tests,
    } in dependencies()
    {
        for (technology, keepers) in KEPT_INSIDE {
            let is_it = to == technology || to.starts_with(&format!("{technology}-"));
            assert!(
                !is_it || for_tests || keepers.contains(&from.as_str()),
                "{from} must not know {to}: that is the business of {keepers:?}"
            );
        }
    }
}

/// A built-in activity has no rights that a stranger's plugin lacks.
#[test]
fn activities_use_only_the_plugin_surface_of_the_engine() {
    for file in sources_in("activities/src") {
        for after in read(&file).split("telecine_engine::").skip(1) {
            assert!(
                after.starts_with("activity") || after.starts_with("objects"),
                "{} reaches into telecine_engine::{}",
                relative(&file),
                after.lines().next().unwrap_or_default()
            );
        }
    }
}

#[test]
fn modules_are_named_after_what_they_are() {
    const SAYS_NOTHING: [&str; 6] = ["utils", "util", "common", "helpers", "manager", "misc"];
    for file in files("rs") {
        let path = relative(&file);
        let mut parts = path.trim_end_matches(".rs").split('/');
        assert!(
            !parts.any(|part| SAYS_NOTHING.contains(&part)),
            "{path}: name it after what it holds"
        );
        assert!(!path.ends_with("/mod.rs"), "{path}: use foo.rs beside foo/");
    }
}

fn sources_in(directory: &str) -> Vec<std::path::PathBuf> {
    let mut sources = files("rs");
    sources.retain(|file| file.starts_with(root().join(directory)));
    assert!(!sources.is_empty(), "nothing in {directory}");
    sources
}

fn dependencies() -> Vec<Dependency> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().flat_map(dependencies_of).collect()
}

fn dependencies_of(package: &Value) -> Vec<Dependency> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = package["dependencies"].as_array().expect("dependencies");
    listed
        .iter()
        .map(|dependency| Dependency {
            from: text(&package["name"]),
            to: text(&dependency["name"]),
            for_tests: dependency["kind"] == "dev",
        })
        .collect()
}

fn metadata() -> Value {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&output).expect("cargo metadata")
}

/// What a command of cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// Crates with their versions and features.
fn compiled(arguments: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--prefix", "none", "--format", "{p} {f}"];
    let printed = cargo(&[&tree[..], arguments].concat());
    let lines = printed.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.map(str::to_owned).collect()
}

/// A feature that only a crate of the tests asks for makes everything above it be compiled twice, also
/// for whoever follows the tutorial: minutes.
#[test]
fn what_the_program_is_made_of_is_what_the_tests_compile() {
    let program = compiled(&["--package", "telecine", "--edges", "normal,build"]);
    let tests = compiled(&["--workspace"]);
    let twice: Vec<_> = program.difference(&tests).collect();
    assert!(
        twice.is_empty(),
        "with fewer features in ./x demo than in ./x test: {twice:#?}"
    );
}
