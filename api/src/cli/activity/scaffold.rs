//! `activity scaffold`: a crate with an activity, ready to run.
//!
//! What is written is `examples/hello-activity` under other names, so that it is compiled and
//! tested with telecine itself.

mod checkout;
mod names;
mod tidy;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::exit::{CliError, Exit};
use super::super::{Session, again, output};
use checkout::Checkout;
use names::Names;

/// A file of the example.
macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../../../examples/hello-activity/", $path))
    };
}

/// Path in the new crate, and text as it is in the example.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.txt")),
    ("README.md", include_str!("scaffold/README.md.txt")),
    ("src/lib.rs", example!("src/lib.rs")),
    ("src/main.rs", example!("src/main.rs")),
    ("tests/hello.rs", example!("tests/hello.rs")),
    ("hello.yaml", example!("hello.yaml")),
    ("example.json", example!("example.json")),
];

/// What jobs and builds leave behind.
const IGNORED: &str = "/target/\n/out/\n/.telecine/\n";

/// What was made, and what to do next.
#[derive(Debug, Serialize)]
struct Made {
    directory: PathBuf,
    activity: String,
    workflow: String,
    files: Vec<String>,
    next: Vec<String>,
}

/// Writes the crate; `installed` are the activities that this program has, `telecine` is where a checkout of telecine
/// is, if that was said.
pub(super) fn run(
    name: &str,
    installed: &[&str],
    (directory, telecine): (Option<PathBuf>, Option<&Path>),
    session: &Session,
) -> Result<Exit, CliError> {
    let names = Names::new(name)?;
    if installed.contains(&names.activity.as_str()) {
        return Err(CliError::usage(format!(
            "{} has an activity {} already; choose another name",
            again::called(),
            names.activity
        )));
    }
    let directory = directory.unwrap_or_else(|| PathBuf::from(&names.package));
    let checkout = Checkout::find(telecine)?;
    let files = files(&names, &checkout)?;
    refuse_to_overwrite(&directory)?;
    for (path, text) in &files {
        write(&directory.join(path), text)?;
    }
    let made = Made {
        next: next(&names, &directory),
        files: files.into_iter().map(|(path, _)| path).collect(),
        directory,
        activity: names.activity,
        workflow: names.workflow,
    };
    output::print_one(session.format, &made, || told(&made))?;
    Ok(Exit::Success)
}

/// Every file of the crate, by path.
fn files(names: &Names, checkout: &Checkout) -> Result<Vec<(String, String)>, CliError> {
    let dependency = checkout.dependency();
    let mut files: Vec<_> = FILES
        .iter()
        .map(|(path, text)| {
            let text = names.put_into(text).replace("TELECINE", &dependency);
            (names.put_into(path), tidy::tidy(path, &text))
        })
        .collect();
    files.push((".gitignore".to_owned(), IGNORED.to_owned()));
    files.extend(checkout.build_files()?);
    Ok(files)
}

fn refuse_to_overwrite(directory: &Path) -> Result<(), CliError> {
    let is_free = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{} is there already and nothing of it is overwritten; name another directory with --dir",
        directory.display()
    )))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

fn next(names: &Names, directory: &Path) -> Vec<String> {
    vec![
        format!("cd {}", directory.display()),
        "cargo test".to_owned(),
        format!("cargo run -- run {} --input example.json", names.workflow),
        format!(
            "cargo run -- activity check {} --input example.json",
            names.activity
        ),
    ]
}

fn told(made: &Made) -> String {
    let mut text = format!("made {}\n", made.directory.display());
    for file in &made.files {
        text.push_str(&format!("  {file}\n"));
    }
    text.push_str("\nnext\n");
    for command in &made.next {
        text.push_str(&format!("  {command}\n"));
    }
    text
}
