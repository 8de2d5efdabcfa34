//! `telecine doctor`: whether this machine has what the media code needs.

use std::path::Path;

use serde::Serialize;

use super::Session;
use super::exit::{CliError, Exit};
use super::output;

/// Space below which a disk is too small to encode on, in bytes.
const LEAST_FREE_BYTES: u64 = 1 << 30;

/// One thing that is needed.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// What was found.
    found: String,
    /// The line that mends it.
    fix: Option<String>,
}

pub(super) async fn run(session: &Session) -> Result<Exit, CliError> {
    let mut checks: Vec<Check> = telecine_activities::prerequisites()
        .into_iter()
        .map(|needed| Check {
            fix: (!needed.ok).then(|| format!("apt-get install {}", needed.package)),
            name: needed.name,
            ok: needed.ok,
            found: needed.found,
        })
        .collect();
    checks.push(directory("data directory", &session.config.data_dir));
    checks.push(directory("scratch directory", &session.config.scratch_dir));
    output::print_list(session.format, &checks, || {
        let mut table = output::table(&["needed", "state", "found", "fix"]);
        for check in &checks {
            let state = if check.ok { "ok" } else { "missing" };
            let fix = check.fix.clone().unwrap_or_default();
            table.add_row([
                check.name.clone(),
                state.to_owned(),
                check.found.clone(),
                fix,
            ]);
        }
        output::lines(&table)
    })?;
    let healthy = checks.iter().all(|check| check.ok);
    Ok(if healthy { Exit::Success } else { Exit::Failed })
}

/// The nearest directory that exists must be writable and have room.
fn directory(name: &str, path: &Path) -> Check {
    let existing = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    // In a file that stands in the way this fails as well.
    let writable = tempfile::tempfile_in(existing).map(drop);
    let free = rustix::fs::statvfs(existing).map(|disk| disk.f_bavail * disk.f_frsize);
    let (ok, found, fix) = match (writable, free) {
        (Err(error), _) => (
            false,
            error.to_string(),
            Some(format!("make {} writable", existing.display())),
        ),
        (Ok(()), Ok(free)) if free < LEAST_FREE_BYTES => (
            false,
            format!("{} MiB free", free >> 20),
            Some("make room on the disk".to_owned()),
        ),
        (Ok(()), Ok(free)) => (true, format!("{} GiB free", free >> 30), None),
        (Ok(()), Err(error)) => (true, error.to_string(), None),
    };
    Check {
        name: format!("{name} {}", path.display()),
        ok,
        found,
        fix,
    }
}
