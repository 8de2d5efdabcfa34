//! What a command and all its children cost, as the kernel counts it.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// The first argument of this program when it is the parent of one measured command.
pub(crate) const VERB: &str = "__measure";

/// Bytes of the blocks that the kernel counts.
const BLOCK_BYTES: u64 = 512;

/// The cost of one command.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds on the clock.
    pub(crate) wall_s: f64,
    /// Seconds of CPU, of user and system, over all processes.
    pub(crate) cpu_s: f64,
    /// Peak resident memory of the largest process, in bytes.
    pub(crate) rss_bytes: u64,
    /// Bytes written to disks.
    pub(crate) written_bytes: u64,
}

impl Cost {
    /// Both, one after the other.
    pub(crate) fn and(self, next: Self) -> Self {
        Self {
            wall_s: self.wall_s + next.wall_s,
            cpu_s: self.cpu_s + next.cpu_s,
            rss_bytes: self.rss_bytes.max(next.rss_bytes),
            written_bytes: self.written_bytes + next.written_bytes,
        }
    }
}

/// Runs a command and answers its cost and what it printed on standard output.
///
/// A process of its own waits for it, because the kernel adds children up per parent.
pub(crate) fn measured(program: &Path, arguments: &[&str]) -> (Cost, String) {
    let cost = tempfile::NamedTempFile::new().expect("a file");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .arg(VERB)
        .arg(cost.path())
        .arg(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("a child");
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{program:?} {arguments:?}: {stdout}"
    );
    let text = std::fs::read_to_string(cost.path()).expect("the cost");
    (serde_json::from_str(&text).expect("the cost"), stdout)
}

/// The parent of one measured command: `COST_FILE PROGRAM ARGUMENT..`.
pub(crate) fn child(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let to = arguments.next().expect("a file for the cost");
    let mut command = Command::new(arguments.next().expect("a program"));
    let began = Instant::now();
    let status = command.args(arguments).stdin(Stdio::null()).status();
    let wall_s = began.elapsed().as_secs_f64();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cost = Cost {
        wall_s,
        cpu_s: seconds(used.user_time()) + seconds(used.system_time()),
        rss_bytes: u64::try_from(used.max_rss()).unwrap_or_default() * 1024,
        written_bytes: u64::try_from(used.block_writes()).unwrap_or_default() * BLOCK_BYTES,
    };
    let text = serde_json::to_string(&cost).expect("numbers");
    std::fs::write(to, text).expect("the cost can be written");
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs a command that is not measured.
pub(crate) fn run_quietly(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().expect("a command");
    assert!(status.success(), "{command:?}");
}
