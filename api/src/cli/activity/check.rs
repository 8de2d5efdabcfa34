//! `activity check`: the conformance kit on an activity of this program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::exit::{CliError, Exit};
use super::super::interrupt::Interrupts;
use super::super::{Session, output};
use crate::testing::{Check, LONGEST};

/// How often it is told that there is nothing to tell.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

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
    session.console.note(&format!(
        "this runs the activity about ten times, and takes as long; one that runs for over {} minutes has failed",
        LONGEST.as_secs() / 60
    ));
    let mut interrupts = Interrupts::listen()?;
    let told = |line: &str| session.console.note(line);
    let perform = check.perform(&told);
    tokio::pin!(perform);
    let started = Instant::now();
    let report = loop {
        tokio::select! {
            report = &mut perform => {
                break report.map_err(|error| CliError::usage(error.to_string()))?;
            }
            // What the check has made is removed with it.
            exit = interrupts.next() => return Ok(exit),
            () = tokio::time::sleep(SIGN_OF_LIFE) => {
                let seconds = started.elapsed().as_secs();
                session.console.note(&format!("{seconds} s so far, and the activity still runs"));
            }
        }
    };
    output::print_one(session.format, &report, || report.to_string())?;
    Ok(if report.is_clean() {
        Exit::Success
    } else {
        Exit::Failed
    })
}
