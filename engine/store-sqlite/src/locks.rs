//! A file lock per session, which the kernel releases when the process dies: taking it proves
//! death at once, where a lease would have to run out. The file holds the end of the lease, so that
//! renewing it waits for no transaction: a writer that is busy for longer than a lease must not make
//! its own process look dead. It is never synced, because it has no meaning after a crash.
//!
//! The file is made and locked before the session's row is written, and removed after the row is
//! gone. A row whose file is missing therefore proves nothing (somebody copied the database
//! without its directory, or cleaned up by hand), and the lease decides. Children of the process do
//! not inherit the lock: Rust opens files with `O_CLOEXEC`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use telecine_engine::id::SessionId;

use crate::clock;

/// The locks that this process holds, and the directory of everybody's.
#[derive(Debug)]
pub(crate) struct SessionLocks {
    directory: PathBuf,
    held: Mutex<HashMap<SessionId, Held>>,
}

/// A lock of this process.
#[derive(Debug)]
struct Held {
    file: File,
    /// When the lease ends that the file holds.
    until: DateTime<Utc>,
}

impl SessionLocks {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            held: Mutex::default(),
        }
    }

    /// Makes and locks the file of a session of this process, whose lease ends at `until`.
    pub(crate) fn take(&self, session: &SessionId, until: DateTime<Utc>) -> io::Result<()> {
        let path = self.path(session);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        write(&file, until)?;
        self.lock().insert(session.clone(), Held { file, until });
        Ok(())
    }

    /// Lets the lease of a session of this process end at `until`; `false` if the others would not
    /// see it: it is not a session of this process, or its file was taken away.
    pub(crate) fn renew(&self, session: &SessionId, until: DateTime<Utc>) -> io::Result<bool> {
        let mut held = self.lock();
        let Some(held) = held.get_mut(session) else {
            return Ok(false);
        };
        let there = std::fs::metadata(self.path(session));
        if there.map(|file| file.ino()).ok() != Some(held.file.metadata()?.ino()) {
            return Ok(false);
        }
        write(&held.file, until)?;
        held.until = until;
        Ok(true)
    }

    /// When the lease of a session ends, as far as its file tells.
    pub(crate) fn until(&self, session: &SessionId) -> Option<DateTime<Utc>> {
        if let Some(held) = self.lock().get(session) {
            return Some(held.until);
        }
        let text = std::fs::read_to_string(self.path(session)).ok()?;
        Some(clock::from_millis(text.trim().parse().ok()?))
    }

    /// Whether the process of a session is gone for certain. The lock is probed shared, so that
    /// processes that look at the same moment do not take each other for the owner.
    pub(crate) fn owner_is_gone(&self, session: &SessionId) -> bool {
        File::open(self.path(session))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
    }

    /// Removes the file of a session that has ended, and the lock if it was held here.
    pub(crate) fn remove(&self, session: &SessionId) {
        if let Err(error) = std::fs::remove_file(self.path(session))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, session.id = %session, "a session's lock file stays behind");
        }
        self.lock().remove(session);
    }

    fn path(&self, session: &SessionId) -> PathBuf {
        self.directory.join(format!("{session}.lock"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Always the same length: it is overwritten in one piece, and needs no room that a full disk would
/// refuse.
fn write(file: &File, until: DateTime<Utc>) -> io::Result<()> {
    let text = format!("{:019}\n", until.timestamp_millis());
    file.write_all_at(text.as_bytes(), 0)
}
