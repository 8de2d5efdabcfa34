//! The media activities of telecine: probing, pictures, encoding, packaging, publishing.
//!
//! Media libraries run in child processes only: an activity (async, in the worker) drives a
//! [`Tool`](tool::Tool) (blocking, in a child of the same binary).

pub mod child;
pub mod media;
pub mod tool;

use std::process::ExitCode;

use crate::media::cover::Cover;
use crate::media::preview::Preview;
use crate::media::probe::Probe;
use crate::tool::Tool;

/// Serves one tool; see [`child::serve`].
type Serve = fn() -> ExitCode;

/// Every tool by the name on the command line of its process.
const TOOLS: &[(&str, Serve)] = &[
    (Cover::NAME, child::serve::<Cover>),
    (Preview::NAME, child::serve::<Preview>),
    (Probe::NAME, child::serve::<Probe>),
];

/// Runs a tool as a child process does; the program calls this when it is started as
/// `telecine __tool NAME`. Fails for a name that is no tool's.
#[must_use]
pub fn run_tool(name: &str) -> ExitCode {
    match TOOLS.iter().find(|(tool, _)| *tool == name) {
        Some((_, serve)) => serve(),
        None => {
            eprintln!("telecine: there is no tool {name}");
            ExitCode::from(2)
        }
    }
}
