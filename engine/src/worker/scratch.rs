//! Where attempts put files, and how what dead workers left there is told from what is in use.
//!
//! A worker has a directory of its own, `attempts/SESSION`, and beside it a file that it holds locked for
//! as long as it lives. Taking that lock proves that it is gone: the kernel releases it with the process,
//! also where two containers share a volume, whose processes have the same numbers and do not see each
//! other. What is in the file says on which start of which machine it was held: where two machines share the
//! directory and not the locks, one proves nothing of the other.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::activity::ActivityError;
use crate::id::SessionId;
use crate::store::Fence;

/// The directory below the scratch root that is ours: the root itself may be shared with others.
pub const ATTEMPTS: &str = "attempts";

/// How the file ends that a worker holds locked.
const LOCK: &str = "lock";
/// Times that a lock is made anew because somebody who sweeps took it for that of a dead worker.
const TRIES: usize = 10;
/// How long after a try the next one is. Who sweeps holds a lock that it finds for some 50 us.
const PAUSE: Duration = Duration::from_millis(10);

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
            // Where it stays empty, as on a full disk, its end will prove nothing.
            let _ = file.write_all(boot().unwrap_or_default().as_bytes());
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
        // While the lock is held, what is ours is left alone.
        if let Some(attempts) = self.path.parent() {
            sweep(attempts);
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
        match taken {
            Ok(()) if is_at(&file, path) => return Ok(file),
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

/// A worker that left something and whose lock is free: held here, so that nobody else looks at it meanwhile.
#[derive(Debug)]
pub(super) struct Dead {
    /// Its session, if there is proof that its process is gone and nobody has ended it yet.
    pub(super) session: Option<SessionId>,
    directory: PathBuf,
    lock: Option<File>,
}

impl Dead {
    /// Its session has ended: there is nothing to prove any more, should it not be possible to remove it.
    pub(super) fn settle(&self) {
        if let Some(lock) = &self.lock {
            let _ = lock.set_len(0);
        }
    }

    /// Removes its directory and then its lock, which was there before the directory. What cannot be removed
    /// stays for the next sweep.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        if self.lock.is_some() && !self.directory.exists() {
            let _ = std::fs::remove_file(lock_of(&self.directory));
        }
    }
}

/// The workers below a scratch directory that are gone.
pub(super) fn dead(attempts: &Path) -> Vec<Dead> {
    let Ok(entries) = std::fs::read_dir(attempts) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    // A directory and its lock are one worker.
    let workers: BTreeSet<PathBuf> = paths.map(|path| path.with_extension("")).collect();
    workers.into_iter().filter_map(dead_one).collect()
}

fn dead_one(directory: PathBuf) -> Option<Dead> {
    let name = directory.file_name().and_then(OsStr::to_str)?;
    let session = SessionId::from(name.to_owned());
    if !name.starts_with(SessionId::PREFIX) {
        return None;
    }
    let path = lock_of(&directory);
    let mut lock = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(Dead {
                session: None,
                directory,
                lock: None,
            });
        }
        Err(_) => return None,
    };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    // It may have been removed and made anew since it was opened.
    is_at(&lock, &path).then_some(())?;
    let mut held_in = String::new();
    let _ = lock.read_to_string(&mut held_in);
    let proved = boot().is_some_and(|boot| boot == held_in);
    Some(Dead {
        session: proved.then_some(session),
        directory,
        lock: Some(lock),
    })
}

/// Whether a file is the one that has the name.
fn is_at(file: &File, path: &Path) -> bool {
    let there = std::fs::metadata(path).map(|there| there.ino()).ok();
    there.is_some() && there == file.metadata().map(|file| file.ino()).ok()
}

/// What tells this start of this machine's kernel from all others. Where nothing does, a lock proves nothing.
pub(super) fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Removes what workers left that are gone, but for those whose end somebody has yet to be told.
fn sweep(attempts: &Path) {
    let dead = dead(attempts).into_iter();
    dead.filter(|dead| dead.session.is_none())
        .for_each(Dead::remove);
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

    /// Looks for dead workers, removes what they left, and answers whose end was proved.
    fn bury(root: &Path) -> Vec<SessionId> {
        let mut proved = Vec::new();
        for mut dead in scratch_of_dead(root) {
            proved.extend(dead.session.take());
            dead.remove();
        }
        proved
    }

    fn scratch_of_dead(root: &Path) -> Vec<Dead> {
        dead(&root.join(ATTEMPTS))
    }

    fn entries(root: &Path) -> usize {
        std::fs::read_dir(root.join(ATTEMPTS)).unwrap().count()
    }

    #[tokio::test]
    async fn what_a_live_worker_has_stays_whatever_the_number_of_its_process() {
        let root = tempfile::tempdir().unwrap();
        let (room, scratch) = at_work(root.path()).await;
        assert_eq!(bury(root.path()), []);
        let other = Room::open(root.path(), &SessionId::generate()).await;
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
        assert_eq!(bury(root.path()), [SessionId::from(session.to_owned())]);
        std::mem::forget(room);
        assert!(!path.exists());
        assert_eq!(entries(root.path()), 0);
    }

    #[tokio::test]
    async fn what_could_not_be_removed_in_the_beginning_is_removed_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        let (dead, scratch) = at_work(root.path()).await;
        let next = Room::open(root.path(), &SessionId::generate()).await;
        std::mem::forget(scratch);
        dead.lose_lock();
        std::mem::forget(dead);
        // Somebody has yet to end its session.
        drop(next);
        assert_eq!(entries(root.path()), 2);
        let next = Room::open(root.path(), &SessionId::generate()).await;
        scratch_of_dead(root.path()).iter().for_each(Dead::settle);
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
        bury(root.path());
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
        assert_eq!(bury(root.path()), []);
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
        assert_eq!(bury(root.path()), []);
        assert!(scratch.path().exists());
    }
}
