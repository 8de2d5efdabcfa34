//! Hosts tools for tests: those of the crate, and some that fail in every way a process can.

use std::process::ExitCode;

use telecine_activities::child::{TOOL_ARGUMENT, serve};

mod misbehaving;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [word, name] if word == TOOL_ARGUMENT && name == "misbehaving" => {
            serve::<misbehaving::Misbehaving>()
        }
        [word, name] if word == TOOL_ARGUMENT => telecine_activities::run_tool(name),
        _ => ExitCode::from(2),
    }
}
