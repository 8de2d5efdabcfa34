//! Where attempts put files, and how what dead workers left there is told from what is in use.
//!
//! A worker has a directory of its own, `attempts/SESSION`, and beside it a file that it holds locked for
//! as long as it lives. Taking that lock proves that it is gone: the kernel releases it with the process,
//! also where two containers share a volume, whose processes have the same numbers and do not see each
//! other. So whoever shares the directory ends the session of a worker that was killed at once, whatever its
//! lease says: the next process of a service that is started again, or another one beside it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::counter;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::mpsc;

use crate::activity::ActivityError;
use crate::committer::Committer;
use crate::id::SessionId;
use crate::metrics;
use crate::store::Fence;

/// The directory below the scratch root that is ours: the root itself may be shared with others.
pub const ATTEMPTS: &str = "attempts";

/// How the file ends that a worker holds locked.
const LOCK: &str = "lock";
/// Times that a lock is made anew because somebody who sweeps took it for that of a dead worker.
const TRIES: usize = 10;
/// How long after a try the next one is. Who sweeps holds a lock that it finds for some 50 us.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a worker looks after those that share its directory; a look takes some 50 us.
const LOOK: Duration = Duration::from_secs(1);
/// What is in a lock that was held: one that is just being made proves nothing.
const HELD: &[u8] = b"held\n";

/// The directory of one worker; made when it is needed, and removed in the end if nothing is left in it.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    /// Held for as long as the worker lives.
    lock: Mutex<Option<File>>,
}

impl Room {
    /// Takes the lock of a session. Where it cannot be had, attempts try again, and say why they fail.
    pub(super) async fn open(root: &Path, session: &SessionId) -> Arc<Self> {
        let room = Arc::new(Self {
            path: root.join(ATTEMPTS).join(session.as_str()),
            lock: Mutex::default(),
        });
        if let Err(error) = room.held().await {
            tracing::warn!(%error, path = %room.path.display(), "the scratch directory cannot be locked");
        }
        room
    }

    /// Takes the lock if it is not held, on a thread that may stand still.
    async fn held(self: &Arc<Self>) -> io::Result<()> {
        let room = self.clone();
        let held = tokio::task::spawn_blocking(move || room.hold()).await;
        held.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn hold(&self) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            let path = lock_of(&self.path);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let mut file = take(&path)?;
            // On a full disk it stays empty, and its end will prove nothing.
            let _ = file.write_all(HELD);
            *lock = Some(file);
        }
        Ok(())
    }

    fn is_held(&self) -> bool {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.is_some()
    }

    /// The directory of the worker's source copies.
    pub(super) fn sources(&self) -> PathBuf {
        self.path.join("sources")
    }

    /// The directory of an attempt.
    ///
    /// # Errors
    /// That of the system if the lock cannot be had: without it, the files of the attempt would be taken
    /// for those of a dead worker.
    pub(super) async fn attempt(self: &Arc<Self>, fence: &Fence) -> Result<Scratch, ActivityError> {
        if !self.is_held() {
            let held = self.held().await;
            held.map_err(|error| ActivityError::io("lock the scratch directory", error))?;
        }
        let name = format!("{}.{}.{}", fence.run, fence.step, fence.fence);
        Ok(Scratch {
            path: self.path.join(name),
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The tools of a worker that was killed may have been writing for another moment when this one
        // began. While the lock is held, what is ours is left alone.
        if let Some(attempts) = self.path.parent() {
            sweep(attempts, &|_| ());
        }
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
    for number in 0..TRIES {
        if number > 0 {
            std::thread::sleep(PAUSE);
        }
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

/// Looks after the workers that share a scratch directory.
#[derive(Debug)]
pub struct Neighbours {
    attempts: PathBuf,
    committer: Committer,
    /// Those that were found dead: what they left may not go at once.
    ended: HashSet<SessionId>,
}

impl Neighbours {
    /// Those of a scratch directory, whose sessions the committer ends.
    #[must_use]
    pub fn of(scratch: &Path, committer: Committer) -> Self {
        Self {
            attempts: scratch.join(ATTEMPTS),
            committer,
            ended: HashSet::new(),
        }
    }

    /// Ends the sessions of workers that are gone, so that their steps can be claimed, and removes what they
    /// left.
    pub async fn bury(&mut self) {
        let (tell, mut gone) = mpsc::unbounded_channel();
        let attempts = self.attempts.clone();
        // Trees of many gigabytes are removed in seconds.
        let sweeping = tokio::task::spawn_blocking(move || {
            sweep(&attempts, &|session| drop(tell.send(session)));
        });
        while let Some(session) = gone.recv().await {
            if self.ended.insert(session.clone()) {
                self.end(&session).await;
            }
        }
        let _ = sweeping.await;
    }

    /// Does so again and again.
    pub(super) async fn watch(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.bury().await;
        }
    }

    async fn end(&self, session: &SessionId) {
        match self.committer.end_session(session).await {
            Ok(()) => {
                tracing::info!(session.id = %session, "a worker of this machine is gone; its steps go on");
                counter!(metrics::SESSIONS_ENDED.name).increment(1);
            }
            // Its lease is left to tell.
            Err(error) => {
                tracing::warn!(%error, session.id = %session, "the session of a dead worker was not ended");
            }
        }
    }
}

/// Removes what workers left that are gone, and nothing else, and tells whose end is proved before that. What
/// cannot be removed stays; the next worker tries again.
fn sweep(attempts: &Path, gone: &dyn Fn(SessionId)) {
    let Ok(entries) = std::fs::read_dir(attempts) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        if let Some(name) = name.filter(|name| name.starts_with(SessionId::PREFIX)) {
            remove_dead(&path.with_extension(""), &|| gone(name.to_owned().into()));
        }
    }
}

/// Removes the directory of a worker and then its lock, if that can be taken or is gone: it was there
/// before the directory.
fn remove_dead(directory: &Path, gone: &dyn Fn()) {
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
    if let Some(file) = &taken
        && file.metadata().is_ok_and(|file| file.len() > 0)
    {
        gone();
    }
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
    async fn at_work(root: &Path) -> (Arc<Room>, Scratch) {
        let room = Room::open(root, &SessionId::generate()).await;
        let scratch = room.attempt(&fence()).await.unwrap();
        std::fs::create_dir_all(scratch.path()).unwrap();
        std::fs::write(scratch.path().join("segment"), "text").unwrap();
        (room, scratch)
    }

    impl Room {
        fn lose_lock(&self) {
            *self.lock.lock().unwrap() = None;
        }
    }

    /// A worker that looks after the others when it begins.
    async fn next(root: &Path) -> Arc<Room> {
        dead(root);
        Room::open(root, &SessionId::generate()).await
    }

    /// Sweeps, and answers whose end was proved.
    fn dead(root: &Path) -> Vec<SessionId> {
        let dead: Mutex<Vec<SessionId>> = Mutex::default();
        sweep(&root.join(ATTEMPTS), &|session| {
            let mut dead = dead.lock().unwrap_or_else(PoisonError::into_inner);
            dead.push(session);
        });
        dead.into_inner().unwrap()
    }

    fn entries(root: &Path) -> usize {
        std::fs::read_dir(root.join(ATTEMPTS)).unwrap().count()
    }

    #[tokio::test]
    async fn what_a_live_worker_has_stays_whatever_the_number_of_its_process() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path()).await;
        assert_eq!(dead(root.path()), []);
        let other = next(root.path()).await;
        assert!(scratch.path().join("segment").exists());
        drop((scratch, room, other));
        assert_eq!(entries(root.path()), 0, "everybody has cleared up");
    }

    #[tokio::test]
    async fn what_a_dead_worker_left_is_removed_with_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path()).await;
        // As if the process were killed: nothing is removed, and the kernel drops the lock.
        let path = scratch.path().to_owned();
        std::mem::forget(scratch);
        room.lose_lock();
        let session = room.path.file_name().unwrap().to_str().unwrap();
        assert_eq!(dead(root.path()), [SessionId::from(session.to_owned())]);
        std::mem::forget(room);
        assert!(!path.exists());
        assert_eq!(entries(root.path()), 0);
    }

    #[tokio::test]
    async fn what_could_not_be_removed_in_the_beginning_is_removed_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        let (dead, scratch) = at_work(root.path()).await;
        let next = next(root.path()).await;
        std::mem::forget(scratch);
        dead.lose_lock();
        std::mem::forget(dead);
        drop(next);
        assert_eq!(entries(root.path()), 0);
    }

    #[tokio::test]
    async fn what_an_attempt_writes_after_its_end_is_there_until_the_next_sweep() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path()).await;
        let late = scratch.path().join("late");
        drop(scratch);
        std::fs::create_dir_all(&late).unwrap();
        drop(room);
        assert!(late.exists(), "the conformance kit finds it");
        dead(root.path());
        assert_eq!(entries(root.path()), 0);
    }

    #[tokio::test]
    async fn what_is_not_ours_and_what_has_no_lock_any_more_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let ours = root
            .path()
            .join(ATTEMPTS)
            .join(SessionId::generate().as_str());
        let theirs = root.path().join(ATTEMPTS).join("somebody");
        for directory in [&ours, &theirs] {
            std::fs::create_dir_all(directory).unwrap();
        }
        // It is just being made.
        let made = lock_of(&ours.with_file_name(SessionId::generate().as_str()));
        std::fs::write(made, "").unwrap();
        assert_eq!(dead(root.path()), []);
        assert!(!ours.exists() && theirs.exists());
    }

    #[tokio::test]
    async fn a_worker_whose_lock_somebody_has_runs_no_attempt_until_it_gets_it() {
        let root = tempfile::tempdir().unwrap();
        let session = SessionId::generate();
        let lock = lock_of(&root.path().join(ATTEMPTS).join(session.as_str()));
        std::fs::create_dir(root.path().join(ATTEMPTS)).unwrap();
        let sweeping = take(&lock).unwrap();
        let room = Room::open(root.path(), &session).await;
        let refused = room.attempt(&fence()).await.unwrap_err();
        assert!(refused.message.contains("lock the scratch"), "{refused}");
        drop(sweeping);
        let scratch = room.attempt(&fence()).await.unwrap();
        std::fs::create_dir_all(scratch.path()).unwrap();
        assert_eq!(dead(root.path()), []);
        assert!(scratch.path().exists());
    }
}
