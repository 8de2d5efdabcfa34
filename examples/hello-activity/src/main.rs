//! telecine, and one activity more.

use std::process::ExitCode;

use hello_activity::Greet;
use telecine::App;

fn main() -> ExitCode {
    App::builder()
        .activity(Greet)
        .workflow(include_str!("../hello.yaml"))
        .run()
}
