//! A program whose activities break the rules, each in one way.

mod loose;
mod mending;
mod wrong;

use std::process::ExitCode;

use telecine::App;

fn main() -> ExitCode {
    App::builder()
        .activity(wrong::Wrong)
        .activity(mending::Mending)
        .activity(loose::Unclosed)
        .activity(loose::Untyped)
        .activity(loose::Mistyped)
        .run()
}
