//! Where attempts put files, and how what dead workers left there is told from what is in use.
//!
//! A worker has a directory of its own, `attempts/SESSION`, and beside it a file that it holds locked for
//! as long as it lives. Taking that lock proves that it is gone: the kernel releases it with the process,
//! also where two containers share a volume, whose processes have the same numbers and do not see each
//! other.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::id::SessionId;
use crate::store::Fence;

/// The directory below the scratch root that is ours: the root itself may be shared with others.
pub const ATTEMPTS: &str = "attempts";

/// How the file ends that a worker holds locked.
const LOCK: &str = "lock";
/// Times that a lock is made anew because somebody who sweeps took it for that of a dead worker.
const TRIES: usize = 10;

/// The directory of one worker; made when it is needed, and removed in the end if nothing is left in it.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    /// Held for as long as the worker lives.
    _lock: Option<File>,
}

impl Room {
    /// Removes what dead workers left, and takes the lock of a session. Where it cannot be had, attempts
    /// fail once they want a directory, and say why.
    pub(super) fn open(root: &Path, session: &SessionId) -> Self {
        let attempts = root.join(ATTEMPTS);
        sweep(&attempts);
        let path = attempts.join(session.as_str());
        let lock = std::fs::create_dir_all(&attempts).and_then(|()| take(&lock_of(&path)));
        if let Err(error) = &lock {
            tracing::warn!(%error, path = %path.display(), "the scratch directory cannot be locked");
        }
        Self {
            path,
            _lock: lock.ok(),
        }
    }

    /// The directory of the worker's source copies.
    pub(super) fn sources(&self) -> PathBuf {
        self.path.join("sources")
    }

    /// The directory of an attempt.
    pub(super) fn attempt(&self, fence: &Fence) -> Scratch {
        let name = format!("{}.{}.{}", fence.run, fence.step, fence.fence);
        Scratch {
            path: self.path.join(name),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What an activity writes after its end stays for the next sweep.
        let _ = std::fs::remove_dir(&self.path);
        let _ = std::fs::remove_file(lock_of(&self.path));
    }
}

fn lock_of(directory: &Path) -> PathBuf {
    directory.with_extension(LOCK)
}

/// Makes a file and locks it. Whoever sweeps may have found it between the two, and removed it.
fn take(path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let there = std::fs::metadata(path).map(|there| there.ino());
        match taken {
            Ok(()) if there.ok() == Some(file.metadata()?.ino()) => return Ok(file),
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// The scratch directory of one attempt, if it made one; removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
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

/// Removes what workers left that are gone, and nothing else. What cannot be removed stays; the next
/// worker tries again.
fn sweep(attempts: &Path) {
    let Ok(entries) = std::fs::read_dir(attempts) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        if name.is_some_and(|name| name.starts_with(SessionId::PREFIX)) {
            remove_dead(&path.with_extension(""));
        }
    }
}

/// Removes the directory of a worker and then its lock, if that can be taken or is gone: it was there
/// before the directory.
fn remove_dead(directory: &Path) {
    let lock = lock_of(directory);
    let taken = match File::open(&lock) {
        Ok(file) => {
            let Ok(()) = flock(&file, FlockOperation::NonBlockingLockExclusive) else {
                return;
            };
            Some(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return,
    };
    let _ = std::fs::remove_dir_all(directory);
    if taken.is_some() && !directory.exists() {
        let _ = std::fs::remove_file(&lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RunId, StepId};

    fn fence() -> Fence {
        Fence {
            run: RunId::from("job_1".to_owned()),
            step: StepId::single("a"),
            fence: 1,
        }
    }

    /// A worker with a file in the directory of an attempt.
    fn at_work(root: &Path) -> (Room, Scratch) {
        let room = Room::open(root, &SessionId::generate());
        let scratch = room.attempt(&fence());
        std::fs::create_dir_all(scratch.path()).unwrap();
        std::fs::write(scratch.path().join("segment"), "text").unwrap();
        (room, scratch)
    }

    fn entries(root: &Path) -> usize {
        std::fs::read_dir(root.join(ATTEMPTS)).unwrap().count()
    }

    #[test]
    fn what_a_live_worker_has_stays_whatever_the_number_of_its_process() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path());
        let other = Room::open(root.path(), &SessionId::generate());
        assert!(scratch.path().join("segment").exists());
        drop((scratch, room, other));
        assert_eq!(entries(root.path()), 0, "everybody has cleared up");
    }

    #[test]
    fn what_a_dead_worker_left_is_removed_with_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path());
        // As if the process were killed: nothing is removed, and the kernel drops the lock.
        let path = scratch.path().to_owned();
        std::mem::forget(scratch);
        let mut room = std::mem::ManuallyDrop::new(room);
        room._lock = None;
        let next = Room::open(root.path(), &SessionId::generate());
        assert!(!path.exists());
        drop(next);
        assert_eq!(entries(root.path()), 0);
    }

    #[test]
    fn what_is_not_ours_and_what_has_no_lock_any_more_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let ours = root
            .path()
            .join(ATTEMPTS)
            .join(SessionId::generate().as_str());
        let theirs = root.path().join(ATTEMPTS).join("somebody");
        for directory in [&ours, &theirs] {
            std::fs::create_dir_all(directory).unwrap();
        }
        drop(Room::open(root.path(), &SessionId::generate()));
        assert!(!ours.exists() && theirs.exists());
    }
}
