use std::io;
use std::path::{Path, PathBuf};

use crate::store::Fence;

/// The scratch directory of one attempt; removed when dropped. Its name ends in the process id,
/// so that a later process can tell what a dead one left behind.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn create(root: &Path, fence: &Fence) -> io::Result<Self> {
        let name = format!(
            "{}.{}.{}.{}",
            fence.run,
            fence.step,
            fence.fence,
            std::process::id()
        );
        let path = root.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a scratch directory stays behind");
        }
    }
}

/// Removes the scratch directories of processes that are gone. What cannot be removed stays; the
/// next worker tries again.
pub(super) fn sweep(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.rsplit('.').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
