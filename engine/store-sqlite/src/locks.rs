//! A file lock per session, which the kernel releases when the process dies: taking it proves
//! death at once, where a lease would have to run out.
//!
//! The file is made and locked before the session's row is written, and removed after the row is
//! gone. A row whose file is missing therefore proves nothing (somebody copied the database
//! without its directory, or cleaned up by hand), and the lease decides. Children of the process do
//! not inherit the lock: Rust opens files with `O_CLOEXEC`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use telecine_engine::id::SessionId;

/// The locks that this process holds, and the directory of everybody's.
#[derive(Debug)]
pub(crate) struct SessionLocks {
    directory: PathBuf,
    held: Mutex<HashMap<SessionId, File>>,
}

impl SessionLocks {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            held: Mutex::default(),
        }
    }

    /// Makes and locks the file of a session of this process.
    pub(crate) fn take(&self, session: &SessionId) -> io::Result<()> {
        let path = self.path(session);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.lock().insert(session.clone(), file);
        Ok(())
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

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
