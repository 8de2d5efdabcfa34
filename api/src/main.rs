//! `telecine`: durable media workflows, one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    telecine::App::builder().run()
}
