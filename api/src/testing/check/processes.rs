use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long processes get to be gone.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Whether the system tells which processes there are.
pub(super) fn can_be_seen() -> bool {
    Path::new("/proc/self").exists()
}

/// Waits, at most for `patience`, until no process works below `home`; kills those that stay and counts them. Where no
/// `/proc` tells, there are none.
pub(super) async fn survivors(home: &Path, patience: Duration) -> usize {
    let deadline = Instant::now() + patience;
    loop {
        let alive = alive(home);
        if alive.is_empty() || Instant::now() > deadline {
            for pid in &alive {
                let _ = kill_process(*pid, Signal::KILL);
            }
            return alive.len();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes that have `home` in their environment or work in it: every child of an activity has
/// its `TMPDIR` there.
fn alive(home: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| pid.unsigned_abs() != own && is_below(*pid, home))
        .filter_map(Pid::from_raw)
        .collect()
}

fn is_below(pid: i32, home: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let works_there = std::fs::read_link(process.join("cwd")).is_ok_and(|at| at.starts_with(home));
    let mark = home.as_os_str().as_encoded_bytes();
    works_there
        || std::fs::read(process.join("environ"))
            .is_ok_and(|text| text.windows(mark.len()).any(|part| part == mark))
}
