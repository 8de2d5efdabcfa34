//! `telecine`: durable media workflows, one binary.

mod app;
mod cli;
mod config;
mod document;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A child process for media code: it must be up before anything else, and needs nothing of it.
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("__tool"), Some(name)) => telecine_activities::run_tool(&name),
        _ => cli::run(),
    }
}
