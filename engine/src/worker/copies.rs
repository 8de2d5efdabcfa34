use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::objects::{ObjectError, ObjectStore};

/// How much may lie there that no attempt uses at the moment: the next step of the same job most likely
/// wants it. What is more, and what leaves less room than it takes, is removed when the next step asks for one.
pub(super) const IDLE_BYTES: u64 = 8 << 30;

/// How often an attempt that waits for another one's copy is told how far that is.
const TELL: Duration = Duration::from_secs(1);

/// Local copies of sources that their store has in no file, each made once for all attempts of a worker.
///
/// An attempt is given a second name of the copy (a hard link) in its own scratch directory, which goes
/// with that. A copy without one is idle.
#[derive(Debug)]
pub(super) struct SourceCopies {
    directory: PathBuf,
    idle_bytes: u64,
    copies: Mutex<HashMap<Wanted, Arc<Copy>>>,
}

/// Which object it is, and as it was when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) store: String,
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) size_bytes: u64,
}

#[derive(Debug)]
struct Copy {
    path: PathBuf,
    /// Whether the file is there and whole; locked by whoever makes it.
    is_whole: tokio::sync::Mutex<bool>,
    /// How much of it is there.
    copied: AtomicU64,
    used: Mutex<Instant>,
}

impl SourceCopies {
    /// Copies in a directory that is made when it is needed, and removed in the end; of those that are
    /// idle so many bytes stay when the next one is made.
    pub(super) fn new(directory: PathBuf, idle_bytes: u64) -> Self {
        Self {
            directory,
            idle_bytes,
            copies: Mutex::default(),
        }
    }

    /// Gives the object a name at `to`, and tells how much of it has been copied meanwhile.
    pub(super) async fn name(
        &self,
        (objects, wanted): (&dyn ObjectStore, Wanted),
        to: &Path,
        copied: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, ObjectError> {
        let key = wanted.key.clone();
        let failed = |source: io::Error| ObjectError::Io {
            doing: "make a local copy of",
            key: key.clone(),
            source,
        };
        let size_bytes = wanted.size_bytes;
        let copy = self.find(wanted);
        let mut is_whole = loop {
            tokio::select! {
                held = copy.is_whole.lock() => break held,
                () = tokio::time::sleep(TELL) => copied(copy.copied.load(Ordering::Relaxed)),
            }
        };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        if *is_whole && copy.path.exists() {
            self.make_room(0);
        } else {
            self.make_room(size_bytes);
            let mut made = copy.make(objects, &key, copied).await;
            if made.as_ref().is_err_and(is_full) {
                self.make_room(u64::MAX);
                made = copy.make(objects, &key, copied).await;
            }
            made?;
            *is_whole = true;
        }
        second_name(&copy.path, to).map_err(failed)?;
        Ok(copy.copied.load(Ordering::Relaxed))
    }

    fn find(&self, wanted: Wanted) -> Arc<Copy> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers are not used again: as many names as there were copies are taken.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let copy = copies.entry(wanted).or_insert_with(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            Arc::new(Copy {
                path: self.directory.join(number.to_string()),
                is_whole: tokio::sync::Mutex::new(false),
                copied: AtomicU64::new(0),
                used: Mutex::new(Instant::now()),
            })
        });
        *copy.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        copy.clone()
    }

    /// Removes idle copies, those first that were used longest ago, until they are few, and leave as much room beside
    /// what is to come as they take: what is worked on needs it.
    fn make_room(&self, coming_bytes: u64) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has asked for one and has yet to give it a name has it, too.
        let idle = copies
            .iter()
            .filter(|(_, copy)| Arc::strong_count(copy) == 1 && copy.is_idle());
        let mut idle: Vec<_> = idle
            .map(|(wanted, copy)| (copy.last_used(), wanted.clone()))
            .collect();
        idle.sort_unstable_by_key(|(used, _)| std::cmp::Reverse(*used));
        let bytes = |(_, wanted): &(Instant, Wanted)| wanted.size_bytes;
        let room = free_bytes(&self.directory).saturating_add(idle.iter().map(bytes).sum());
        let idle_bytes = self.idle_bytes.min(room.saturating_sub(coming_bytes) / 2);
        let mut kept = 0;
        for (_, wanted) in idle {
            let Some(copy) = copies.get(&wanted) else {
                continue;
            };
            kept += wanted.size_bytes;
            if kept > idle_bytes {
                // One that cannot be removed goes with the directory.
                let _ = std::fs::remove_file(&copy.path);
                copies.remove(&wanted);
            }
        }
    }
}

impl Drop for SourceCopies {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Copy {
    async fn make(
        &self,
        objects: &dyn ObjectStore,
        key: &str,
        copied: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), ObjectError> {
        let began = Instant::now();
        let partial = Partial(self.path.with_extension("partial"));
        // What an attempt left that was stopped in the middle.
        let _ = std::fs::remove_file(&partial.0);
        let tell = |bytes| {
            self.copied.store(bytes, Ordering::Relaxed);
            copied(bytes);
        };
        let size_bytes = objects.download(key, &partial.0, &tell).await?;
        self.copied.store(size_bytes, Ordering::Relaxed);
        std::fs::rename(&partial.0, &self.path).map_err(|source| ObjectError::Io {
            doing: "make a local copy of",
            key: key.to_owned(),
            source,
        })?;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            key,
            size_bytes,
            duration_ms,
            "the source was copied to scratch"
        );
        Ok(())
    }

    /// Whether it is whole and no attempt has a name of it. One that somebody waits for is not.
    fn is_idle(&self) -> bool {
        let is_whole = self.is_whole.try_lock().is_ok_and(|is_whole| *is_whole);
        is_whole && std::fs::metadata(&self.path).is_ok_and(|file| file.nlink() == 1)
    }

    fn last_used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is free where a directory is; without knowledge there is no limit.
fn free_bytes(directory: &Path) -> u64 {
    let known = rustix::fs::statvfs(directory).ok();
    known.map_or(u64::MAX, |known| {
        known.f_bavail.saturating_mul(known.f_frsize)
    })
}

/// Whether there was no room for a copy.
fn is_full(error: &ObjectError) -> bool {
    let ObjectError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A file that goes unless it was given another name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the file system has no second names, there are two files.
fn second_name(file: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(file, to) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            std::fs::copy(file, to).map(drop)
        }
        named => named,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;
    use crate::objects::{Access, ObjectMeta, ObjectStream};

    /// Objects of ten bytes, and how often they were fetched.
    #[derive(Debug, Default)]
    struct Tens {
        fetched: AtomicU64,
        breaks: Mutex<bool>,
        /// The next one finds no room.
        is_full: Mutex<bool>,
    }

    #[async_trait]
    impl ObjectStore for Tens {
        async fn stream(&self, key: &str, _: Range<u64>) -> Result<ObjectStream, ObjectError> {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let bytes = Ok(Bytes::from_static(b"0123456789"));
            let breaks = std::mem::take(&mut *self.breaks.lock().unwrap());
            let end = breaks.then(|| Err(ObjectError::NotFound { key: key.into() }));
            let full = || ObjectError::Io {
                doing: "write",
                key: key.into(),
                source: io::ErrorKind::StorageFull.into(),
            };
            let is_full = std::mem::take(&mut *self.is_full.lock().unwrap());
            let end = end.or_else(|| is_full.then(|| Err(full())));
            Ok(Box::pin(stream::iter([bytes].into_iter().chain(end))))
        }

        async fn head(&self, _: &str) -> Result<Option<ObjectMeta>, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn read_range(&self, _: &str, _: u64, _: usize) -> Result<Bytes, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_bytes(&self, _: &str, _: Bytes) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_new(&self, _: &str, _: Bytes) -> Result<bool, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_file(&self, _: &str, _: &Path) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn copy(&self, _: &str, _: &str) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn delete(&self, _: &str) -> Result<(), ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn list(&self, _: &str) -> Result<Vec<(String, u64)>, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn list_directories(&self, _: &str) -> Result<Vec<String>, ObjectError> {
            unreachable!("it is not asked for")
        }

        fn local_path(&self, _: &str) -> Result<Option<PathBuf>, ObjectError> {
            Ok(None)
        }

        async fn signed_url(
            &self,
            _: &str,
            _: Access,
            _: Duration,
        ) -> Result<Option<String>, ObjectError> {
            Ok(None)
        }

        async fn remove_unfinished(&self, _: Duration) -> Result<Vec<String>, ObjectError> {
            Ok(Vec::new())
        }
    }

    fn wanted(key: &str) -> Wanted {
        Wanted {
            store: "s3://b".to_owned(),
            key: key.to_owned(),
            etag: "e".to_owned(),
            size_bytes: 10,
        }
    }

    struct Site {
        scratch: tempfile::TempDir,
        copies: SourceCopies,
        store: Tens,
    }

    impl Site {
        fn new(idle_bytes: u64) -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path().join("sources");
            Self {
                copies: SourceCopies::new(directory, idle_bytes),
                scratch,
                store: Tens::default(),
            }
        }

        async fn name(&self, key: &str, to: &str) -> Result<u64, ObjectError> {
            let to = self.scratch.path().join(to);
            self.copies
                .name((&self.store, wanted(key)), &to, &|_| ())
                .await
        }

        fn fetched(&self) -> u64 {
            self.store.fetched.load(Ordering::Relaxed)
        }

        fn end_attempt(&self, name: &str) {
            std::fs::remove_file(self.scratch.path().join(name)).unwrap();
        }

        fn copies(&self) -> usize {
            let entries = std::fs::read_dir(self.scratch.path().join("sources"));
            entries.map_or(0, Iterator::count)
        }
    }

    #[tokio::test]
    async fn attempts_at_once_share_one_copy() {
        let site = Site::new(100);
        let (one, other) = tokio::join!(site.name("k", "one"), site.name("k", "other"));
        assert_eq!((one.unwrap(), other.unwrap()), (10, 10));
        assert_eq!(site.fetched(), 1);
        for name in ["one", "other"] {
            let read = std::fs::read(site.scratch.path().join(name)).unwrap();
            assert_eq!(read, b"0123456789");
        }
        assert_eq!(site.copies(), 1);
    }

    #[tokio::test]
    async fn a_copy_waits_for_the_next_step_until_there_are_too_many() {
        let site = Site::new(15);
        site.name("a", "1").await.unwrap();
        site.end_attempt("1");
        site.name("a", "2").await.unwrap();
        site.end_attempt("2");
        assert_eq!(site.fetched(), 1);
        for (key, name) in [("b", "3"), ("c", "4")] {
            site.name(key, name).await.unwrap();
            site.end_attempt(name);
        }
        assert_eq!(
            site.copies(),
            2,
            "the one that was used longest ago is gone"
        );
        site.name("b", "5").await.unwrap();
        assert_eq!(site.fetched(), 3);
    }

    #[tokio::test]
    async fn idle_copies_make_room_for_one_that_does_not_fit() {
        let site = Site::new(100);
        for (key, name) in [("a", "1"), ("b", "2"), ("c", "3")] {
            site.name(key, name).await.unwrap();
        }
        site.end_attempt("1");
        site.end_attempt("3");
        *site.store.is_full.lock().unwrap() = true;
        site.name("d", "4").await.unwrap();
        assert_eq!(site.copies(), 2, "the one that is in use, and the new one");
        *site.store.is_full.lock().unwrap() = true;
        site.name("b", "5").await.unwrap();
        assert_eq!(site.fetched(), 5, "one was broken off, and none made twice");
    }

    #[tokio::test]
    async fn what_an_attempt_uses_is_not_removed() {
        let site = Site::new(0);
        for (key, name) in [("a", "1"), ("b", "2"), ("c", "3")] {
            site.name(key, name).await.unwrap();
        }
        assert_eq!(site.copies(), 3);
        for name in ["1", "2", "3"] {
            assert!(site.scratch.path().join(name).exists());
        }
    }

    #[tokio::test]
    async fn a_copy_that_broke_off_is_made_again() {
        let site = Site::new(100);
        *site.store.breaks.lock().unwrap() = true;
        assert!(site.name("k", "one").await.is_err());
        assert_eq!(site.copies(), 0, "nothing of it stays");
        assert_eq!(site.name("k", "one").await.unwrap(), 10);
        assert_eq!(site.fetched(), 2);
    }

    #[tokio::test]
    async fn copies_go_with_the_worker() {
        let site = Site::new(100);
        site.name("k", "one").await.unwrap();
        let Site {
            scratch, copies, ..
        } = site;
        drop(copies);
        assert!(!scratch.path().join("sources").exists());
        assert!(scratch.path().join("one").exists());
    }
}
