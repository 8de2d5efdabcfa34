use std::io;
use std::path::{Path, PathBuf};

use crate::id::{RunId, SessionId};
use crate::store::Fence;

/// The directory below the scratch root that is ours: the root itself may be shared with others.
pub const ATTEMPTS: &str = "attempts";

/// What the name of a directory of source copies begins with.
const SOURCES: &str = "sources.";

/// The directory of a worker's source copies; swept like those of attempts.
pub(super) fn sources(root: &Path, session: &SessionId) -> PathBuf {
    let name = format!("{SOURCES}{session}.{}", std::process::id());
    root.join(ATTEMPTS).join(name)
}

/// The scratch directory of one attempt, if it made one; removed when dropped. Its name ends in the
/// process id, so that a later process can tell what a dead one left behind.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn new(root: &Path, fence: &Fence) -> Self {
        let name = format!(
            "{}.{}.{}.{}",
            fence.run,
            fence.step,
            fence.fence,
            std::process::id()
        );
        Self {
            path: root.join(ATTEMPTS).join(name),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a scratch directory stays behind");
        }
    }
}

/// Removes the scratch directories of attempts and workers whose processes are gone, and nothing else. What
/// cannot be removed stays; the next worker tries again. Where no `/proc` tells which processes
/// live, everything stays.
pub(super) fn sweep(root: &Path) {
    let processes = Path::new("/proc");
    if !processes.join("self").exists() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(root.join(ATTEMPTS)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(attempt_pid);
        if pid.is_some_and(|pid| !processes.join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process of a directory that [`Scratch::new`] or [`sources`] named.
fn attempt_pid(name: &str) -> Option<u32> {
    [RunId::PREFIX, SOURCES]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        .then(|| name.rsplit('.').next()?.parse().ok())?
}
