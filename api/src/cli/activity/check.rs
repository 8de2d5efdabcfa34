//! `activity check`: the conformance kit on an activity of this program.

use std::path::PathBuf;

use super::super::exit::{CliError, Exit};
use super::super::interrupt::Interrupts;
use super::super::{Session, output};
use crate::testing::Check;

/// What the activity is given.
pub(super) struct Given {
    pub(super) input: Option<PathBuf>,
    pub(super) source: Option<PathBuf>,
    pub(super) media: Option<PathBuf>,
    pub(super) bytes_may_differ: bool,
}

pub(super) async fn run(
    activity: String,
    given: Given,
    session: &Session,
) -> Result<Exit, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::failed(format!("cannot tell which program this is: {error}")))?;
    let mut check = Check::new(program, activity);
    if let Some(path) = &given.input {
        let cannot =
            |why: String| CliError::usage(format!("cannot read {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| cannot(e.to_string()))?;
        let input = serde_json::from_str(&text).map_err(|e| cannot(e.to_string()))?;
        check = check.input(input);
    }
    if let Some(source) = given.source {
        check = check.source(source);
    }
    if let Some(media) = given.media {
        check = check.media(media);
    }
    if given.bytes_may_differ {
        check = check.bytes_may_differ();
    }
    session
        .console
        .note("this runs the activity about ten times, and takes as long");
    let mut interrupts = Interrupts::listen()?;
    let told = |line: &str| session.console.note(line);
    let report = tokio::select! {
        report = check.perform(&told) => report.map_err(|error| CliError::usage(error.to_string()))?,
        // What the check has made is removed with it.
        exit = interrupts.next() => return Ok(exit),
    };
    output::print_one(session.format, &report, || report.to_string())?;
    Ok(if report.is_clean() {
        Exit::Success
    } else {
        Exit::Failed
    })
}
