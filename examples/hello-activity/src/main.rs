//! telecine, and one activity more.

use std::process::ExitCode;

use hello_activity::Greet;
use telecine::App;

/// The definition of the workflow.
const WORKFLOW: &str = include_str!("../hello.yaml");

fn main() -> ExitCode {
    App::builder().activity(Greet).workflow(WORKFLOW).run()
}
