//! The command line from outside: exit codes, messages, and what goes to which stream.

mod cancelling;
mod editors;
mod failures;
pub(crate) mod held;
mod inspection;
mod jobs;
mod linting;
mod servers;
mod settings;
mod stopping;
mod workflows;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::product::{self, Workplace};

/// A workflow that only looks at its source: a job of half a second.
const LOOK: &str = "
workflow: test:look
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}, note: {type: string, default: none}}
steps:
  probe:
    activity: media.probe@1
    with: {source: '${{ input.source }}'}
output: {sha256: '${{ steps.probe.output.sha256 }}'}
";

impl Workplace {
    /// Writes a file of this workplace.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Runs a command to its end.
    fn call(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.telecine(arguments))
    }

    /// Runs the workflow [`LOOK`] on a file of this workplace.
    fn look(&self, source: &str, more: &[&str]) -> Answer {
        self.write("look.yaml", LOOK);
        self.call(&[&["run", "look.yaml", source, "-o", "json"], more].concat())
    }
}

/// What a command answered.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn of(command: Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = product::output(command);
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }

    /// The exit code, and one sentence that says all of that.
    fn assert_error(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "one line: {self:#?}");
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} in {self:#?}");
        }
        assert_eq!(self.stdout, "", "{self:#?}");
    }

    /// The one JSON document on standard output.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("one JSON document ({error}): {self:#?}"))
    }
}
