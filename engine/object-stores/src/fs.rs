//! Objects as files below a directory; the key is the relative path.
//!
//! Every write goes to a temporary file first, is synced, renamed over its final name, and the
//! directory is synced: readers see old bytes, new bytes or nothing, also after a power cut.

mod place;
mod read;
mod root;
mod url;
mod write;

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use telecine_engine::objects::{
    Access, ObjectError, ObjectMeta, ObjectStore, ObjectStores, ObjectStream,
};

use crate::read_only::ReadOnly;
use place::{Place, TEMPORARY_DIR};
use root::Root;

/// A temporary file of this age was left by a process that was killed: copying the largest object
/// takes minutes.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Objects as files below one directory.
///
/// The directory is made by the first write; one that was there and is gone is away. Symbolic links that lead
/// out of it are refused, so that a link among the sources cannot publish another part of the machine.
#[derive(Debug, Clone)]
pub struct FsStore {
    root: Arc<Root>,
}

impl FsStore {
    /// The store in a directory, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::new(Root::new(root.into())),
        }
    }

    /// The store in a directory that others make: one that is not there is away.
    fn of_others(root: PathBuf) -> Self {
        Self {
            root: Arc::new(Root::of_others(root)),
        }
    }

    /// Runs blocking file work on a thread that may block.
    async fn blocking<T, F>(
        &self,
        doing: &'static str,
        key: &str,
        work: F,
    ) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: FnOnce(&Place) -> Result<T, ObjectError> + Send + 'static,
    {
        let place = Place::new(&self.root, doing, key)?;
        let joined = tokio::task::spawn_blocking(move || work(&place)).await;
        joined.unwrap_or_else(|panic| {
            Err(ObjectError::Io {
                doing,
                key: key.to_owned(),
                source: io::Error::other(panic),
            })
        })
    }
}

#[async_trait]
impl ObjectStore for FsStore {
    /// That an object is not there says nothing: the file system may have gone that it was on.
    async fn ready(&self) -> Result<(), ObjectError> {
        let root = Arc::clone(&self.root);
        let looked = tokio::task::spawn_blocking(move || std::fs::read_dir(root.path()).map(drop));
        let looked = looked
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        looked.map_err(|source| list_error("", source))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        self.blocking("read", key, |place| {
            let Some(path) = place.existing()? else {
                return Ok(None);
            };
            let meta = path.metadata().map_err(|e| place.error(e))?;
            Ok(meta.is_file().then(|| describe(&meta)))
        })
        .await
    }

    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError> {
        self.blocking("read", key, move |place| {
            let path = place.existing_file()?;
            read_range(&path, offset, len).map_err(|e| place.error(e))
        })
        .await
    }

    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        let path = self
            .blocking("read", key, |place| place.existing_file())
            .await?;
        read::stream(path, key.to_owned(), range).await
    }

    async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<String, ObjectError> {
        self.blocking("write", key, move |place| write::bytes(place, &bytes))
            .await
            .map(|meta| describe(&meta).etag)
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        self.blocking("write", key, move |place| write::new_bytes(place, &bytes))
            .await
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<String, ObjectError> {
        let file = file.to_owned();
        self.blocking("write", key, move |place| write::take_over(place, &file))
            .await
            .map(|meta| describe(&meta).etag)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<String, ObjectError> {
        let from = Place::new(&self.root, "read", from)?;
        self.blocking("write", to, move |to| {
            write::copy_of(to, &from.existing_file()?)
        })
        .await
        .map(|meta| describe(&meta).etag)
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.blocking("delete", key, |place| match place.existing()? {
            Some(_) => std::fs::remove_file(place.target()).or_else(|e| place.unless_missing(e)),
            None => Ok(()),
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        let (root, prefix) = (Arc::clone(&self.root), prefix.to_owned());
        tokio::task::spawn_blocking(move || list(&root, &prefix))
            .await
            .unwrap_or_else(|panic| Err(list_error("", io::Error::other(panic))))
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let (root, prefix) = (Arc::clone(&self.root), prefix.to_owned());
        tokio::task::spawn_blocking(move || list_directories(&root, &prefix))
            .await
            .unwrap_or_else(|panic| Err(list_error("", io::Error::other(panic))))
    }

    fn local_path(&self, key: &str) -> Result<Option<PathBuf>, ObjectError> {
        Place::new(&self.root, "read", key)?
            .existing_file()
            .map(Some)
    }

    /// Files are served by nobody.
    async fn signed_url(
        &self,
        key: &str,
        _: Access,
        _: Duration,
    ) -> Result<Option<String>, ObjectError> {
        telecine_engine::objects::check_key(key).map(|()| None)
    }

    /// Which keys they were meant for is not known any more.
    async fn remove_unfinished(&self, grace: Duration) -> Result<Vec<String>, ObjectError> {
        let root = Arc::clone(&self.root);
        let removed =
            tokio::task::spawn_blocking(move || write::remove_stale(root.path(), grace)).await;
        match removed.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Err(e) if !place::is_missing(&e) => Err(list_error(TEMPORARY_DIR, e)),
            _ => Ok(Vec::new()),
        }
    }
}

/// Opens [`FsStore`]s for `file:///directory` addresses, and removes what killed processes left
/// half written in them.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsStores;

impl FsStores {
    /// The directory of a `file:///directory` address.
    ///
    /// # Errors
    /// [`ObjectError::Unsupported`] if it is none.
    pub fn directory(url: &str) -> Result<PathBuf, ObjectError> {
        url::directory(url)
    }
}

impl ObjectStores for FsStores {
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let root = url::directory(url)?;
        // A store that does not exist yet, or is not ours to write, has nothing to remove.
        let _ = write::remove_stale(&root, STALE_AFTER);
        Ok(Arc::new(FsStore::new(root)))
    }

    fn open_source(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let store = FsStore::of_others(url::directory(url)?);
        Ok(Arc::new(ReadOnly::new(Arc::new(store))))
    }
}

/// The etag changes with every write, also of those who write into the file and put the time of
/// its bytes back: the time of its inode is not theirs to set. It changes with owner, permissions
/// and name, too.
fn describe(meta: &std::fs::Metadata) -> ObjectMeta {
    let modified = DateTime::from_timestamp(
        meta.mtime(),
        u32::try_from(meta.mtime_nsec()).unwrap_or_default(),
    );
    ObjectMeta {
        size: meta.len(),
        etag: format!(
            "{:x}-{:x}{:09x}-{:x}{:09x}-{:x}",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
            meta.ino()
        ),
        modified: modified.unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
    }
}

fn read_range(path: &Path, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut file = std::fs::File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let len = usize::try_from(left).map_or(len, |left| left.min(len));
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(len);
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Walks only the directory that the prefix names. Symbolic links are no objects of a list:
/// following them could walk in circles.
fn list(root: &Root, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
    let mut found = Vec::new();
    let mut pending = vec![parent(prefix)?.to_owned()];
    while let Some(directory) = pending.pop() {
        for Listed { key, kind, entry } in entries(root, &directory)? {
            if kind.is_dir() {
                let inside = format!("{key}/");
                if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                    pending.push(key);
                }
            } else if kind.is_file() && key.starts_with(prefix) {
                match entry.metadata() {
                    Ok(meta) => found.push((key, meta.len())),
                    // It was removed a moment ago.
                    Err(e) if place::is_missing(&e) => {}
                    Err(e) => return Err(list_error(&key, e)),
                }
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn list_directories(root: &Root, prefix: &str) -> Result<Vec<String>, ObjectError> {
    let entries = entries(root, parent(prefix)?)?.into_iter();
    let mut found: Vec<String> = entries
        .filter(|entry| entry.kind.is_dir())
        .map(|entry| format!("{}/", entry.key))
        .filter(|directory| directory.starts_with(prefix))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The directory that a prefix names, or begins to name something in.
fn parent(prefix: &str) -> Result<&str, ObjectError> {
    let parent = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
    if !parent.is_empty() {
        telecine_engine::objects::check_key(parent)?;
    }
    Ok(parent)
}

struct Listed {
    key: String,
    kind: std::fs::FileType,
    entry: std::fs::DirEntry,
}

/// What is in a directory, but for the store's own temporary files and names that are no text;
/// nothing if there is no such directory.
fn entries(root: &Root, directory: &str) -> Result<Vec<Listed>, ObjectError> {
    let failed = |e| list_error(directory, e);
    let found = match std::fs::read_dir(root.path().join(directory)) {
        Ok(found) => found,
        Err(e) if place::is_missing(&e) => {
            return root.is_there("list", directory).map(|_| Vec::new());
        }
        Err(e) => return Err(failed(e)),
    };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if directory.is_empty() && name == TEMPORARY_DIR {
            continue;
        }
        let key = if directory.is_empty() {
            name
        } else {
            format!("{directory}/{name}")
        };
        let kind = entry.file_type().map_err(failed)?;
        entries.push(Listed { key, kind, entry });
    }
    Ok(entries)
}

fn list_error(key: &str, source: io::Error) -> ObjectError {
    ObjectError::Io {
        doing: "list",
        key: key.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_list_leaves_out_what_is_removed_while_it_is_made() {
        let root = tempfile::tempdir().unwrap();
        let (place, done) = (root.path().join("d"), AtomicBool::new(false));
        std::fs::create_dir(&place).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..2_000 {
                    let file = place.join(n.to_string());
                    std::fs::write(&file, "x").unwrap();
                    std::fs::remove_file(&file).unwrap();
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                list(&Root::new(root.path().to_owned()), "d/").unwrap();
            }
        });
    }
}
