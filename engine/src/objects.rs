//! Where sources and results live: the [`ObjectStore`] port.

mod download;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activity::ErrorClass;

/// The longest object key, in bytes. S3 allows no more.
pub const MAX_KEY_BYTES: usize = 1024;

/// The name of an object, empty, that says in a generation itself that it was published: a database that was set back to
/// an earlier time does not know. Whoever publishes writes it then, before anything else leads there.
pub const PUBLISHED_MARK: &str = ".published";

/// How a source is named that is a result of an earlier step: `media://KEY` is an object of the
/// media store. No key begins like that: it would have an empty segment.
pub const MEDIA_SCHEME: &str = "media://";

/// An object that need not be there: whether a store can tell is what counts.
const PROBE: &str = ".telecine-ready";

/// What the keys begin with of what telecine makes. In a bucket that is shared with others, nothing is
/// cleared away beside that.
pub const OWN_PREFIXES: [&str; 3] = ["cache/", "images/", "videos/"];

/// An object that a step made: what it is called and what is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Key in the media store.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// MIME type.
    pub media_type: String,
}

impl Artifact {
    /// How another step names it as its source: [`MEDIA_SCHEME`] and the key.
    #[must_use]
    pub fn as_source(&self) -> String {
        format!("{MEDIA_SCHEME}{}", self.key)
    }
}

/// An artifact as a step recorded it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredArtifact {
    /// The object.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// The etag that the store gave it; `None` if the attempt that recorded it had not put it there itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl StoredArtifact {
    /// The record of the same key that came later takes its place. What was known of the same bytes stays
    /// known: an attempt that goes on from a checkpoint names what it did not put there.
    pub fn replace(&mut self, later: Self) {
        let known = self.etag.take().filter(|_| self.sha256 == later.sha256);
        *self = later;
        self.etag = self.etag.take().or(known);
    }
}

impl From<Artifact> for StoredArtifact {
    fn from(artifact: Artifact) -> Self {
        Self {
            artifact,
            etag: None,
        }
    }
}

impl std::ops::Deref for StoredArtifact {
    type Target = Artifact;

    fn deref(&self) -> &Artifact {
        &self.artifact
    }
}

/// What a store says about an object without reading it.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectMeta {
    /// Size in bytes.
    pub size: u64,
    /// Changes whenever the bytes change.
    pub etag: String,
    /// By the store's clock.
    pub modified: DateTime<Utc>,
}

/// What went wrong, by meaning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no such object.
    #[error("no object {key}")]
    NotFound {
        /// The key that was asked for.
        key: String,
    },
    /// A key that no store would take, or that would leave the store's root.
    #[error("bad object key {key:?}: {why}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The store could not be read or written.
    #[error("cannot {doing} {key}: {source}")]
    Io {
        /// What was tried ("read", "write", ...).
        doing: &'static str,
        /// The key.
        key: String,
        /// The cause; its kind tells a full disk from a missing permission.
        source: std::io::Error,
    },
    /// The object is not the one that was submitted.
    #[error(
        "the source {key} is not the file any more that was submitted: it was changed or replaced \
         while the job ran; give the command again, which begins a job with what is there now"
    )]
    Changed {
        /// The key.
        key: String,
    },
    /// The service that keeps the objects refused, was ill, or was not there.
    #[error("cannot {doing} {key}: {why}")]
    Service {
        /// What was tried ("read", "write", ...).
        doing: &'static str,
        /// The key.
        key: String,
        /// Whose move it is.
        class: ErrorClass,
        /// Stable and `snake_case`.
        code: &'static str,
        /// What happened and what to do, as one sentence.
        why: String,
        /// What the client library says.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store cannot decide which of several writers was first.
    #[error(
        "{store} cannot create an object only if there is none: it does not heed If-None-Match"
    )]
    NoConditionalWrites {
        /// Address of the store.
        store: String,
    },
    /// Something tried to write to the store of sources.
    #[error("cannot write {key}: sources are only read")]
    ReadOnly {
        /// The key.
        key: String,
    },
    /// No store is configured for that address.
    #[error("cannot open the object store {url}: {why}")]
    Unsupported {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The bytes of an object as they come. The first error is the last item.
pub type ObjectStream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// What an address made by [`ObjectStore::signed_url`] lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// GET the object, or ranges of it.
    Read,
    /// PUT the object, replacing what was there.
    Write,
}

/// Objects under keys.
///
/// # Contract
///
/// * A write is all or nothing, and durable before it returns: a reader sees the old bytes, the
///   new bytes, or nothing, also after a power cut.
/// * Keys are relative paths of `/`-separated segments: none empty, `.` or `..`, no control
///   characters, at most [`MAX_KEY_BYTES`].
/// * Deleting what is not there succeeds.
#[async_trait]
pub trait ObjectStore: std::fmt::Debug + Send + Sync {
    /// Whether the store answers now.
    async fn ready(&self) -> Result<(), ObjectError> {
        self.head(PROBE).await.map(drop)
    }

    /// Size, etag and time of an object; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError>;

    /// The bytes `[offset, offset + len)` of an object, fewer where it ends earlier.
    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError>;

    /// The bytes of a range of an object as they come, fewer where it ends earlier. All of them are
    /// of the object as it was when this returned; [`ObjectError::Changed`] if that is gone meanwhile.
    /// No more than a megabyte is held at a time.
    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError>;

    /// Copies an object into a file that is not there yet, and tells after each piece how many bytes
    /// it has. Answers how many there were.
    async fn download(
        &self,
        key: &str,
        to: &Path,
        copied: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, ObjectError> {
        let bytes = self.stream(key, 0..u64::MAX).await?;
        download::to_file(bytes, key, to, copied).await
    }

    /// Stores bytes under a key, replacing what was there. Answers its etag.
    async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<String, ObjectError>;

    /// Stores bytes under a key that has no object, and says whether it did. Of several writers at
    /// once, at most one is told that it did; none is if its connection broke before it could be told.
    ///
    /// [`ObjectError::NoConditionalWrites`] if the store cannot tell.
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError>;

    /// Moves a file into the store under a key, replacing what was there. The file is gone
    /// afterwards. No second copy is written where the store can take the file over. Answers the etag
    /// of the object.
    async fn put_file(&self, key: &str, file: &Path) -> Result<String, ObjectError>;

    /// Makes `to` hold what `from` holds, replacing what was there. Answers the etag of `to`.
    async fn copy(&self, from: &str, to: &str) -> Result<String, ObjectError>;

    /// Removes an object.
    async fn delete(&self, key: &str) -> Result<(), ObjectError>;

    /// Keys that begin with `prefix`, in order, with their sizes.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError>;

    /// The directories right below: each distinct beginning of a key that starts with `prefix`, up
    /// to and with the next `/`, in order. A directory whose objects were deleted may be listed.
    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError>;

    /// A file in which the object can be read in place, if the store has one.
    fn local_path(&self, key: &str) -> Result<Option<PathBuf>, ObjectError>;

    /// An address under which whoever has it may read or write the object for that long, if the store
    /// serves objects itself. The object need not exist.
    async fn signed_url(
        &self,
        key: &str,
        access: Access,
        lifetime: Duration,
    ) -> Result<Option<String>, ObjectError>;

    /// Removes what writes have left that never ended and began longer ago than `grace` by the store's
    /// clock; answers the keys that they would have made, where the store knows them. A store that
    /// cannot tell whose they are leaves those alone whose keys begin with none of [`OWN_PREFIXES`].
    async fn remove_unfinished(&self, grace: Duration) -> Result<Vec<String>, ObjectError>;
}

/// A store that is only read from: that of sources.
#[derive(Debug, Clone, Copy)]
pub struct SourceStore<'a> {
    store: &'a dyn ObjectStore,
}

impl<'a> SourceStore<'a> {
    /// The reading side of a store.
    #[must_use]
    pub fn new(store: &'a dyn ObjectStore) -> Self {
        Self { store }
    }

    /// See [`ObjectStore::head`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn head(self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        self.store.head(key).await
    }

    /// See [`ObjectStore::read_range`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn read_range(
        self,
        key: &str,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, ObjectError> {
        self.store.read_range(key, offset, len).await
    }

    /// See [`ObjectStore::stream`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn stream(self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        self.store.stream(key, range).await
    }

    /// See [`ObjectStore::download`].
    ///
    /// # Errors
    /// What the store and the disk say.
    pub async fn download(
        self,
        key: &str,
        to: &Path,
        copied: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, ObjectError> {
        self.store.download(key, to, copied).await
    }

    /// See [`ObjectStore::list`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        self.store.list(prefix).await
    }

    /// See [`ObjectStore::local_path`].
    ///
    /// # Errors
    /// What the store says.
    pub fn local_path(self, key: &str) -> Result<Option<PathBuf>, ObjectError> {
        self.store.local_path(key)
    }
}

/// Opens stores by address (`file:///dir`, `s3://bucket/prefix`). A run records the addresses it was
/// submitted with.
pub trait ObjectStores: std::fmt::Debug + Send + Sync {
    /// The store of results at an address.
    ///
    /// # Errors
    /// [`ObjectError::Unsupported`] if no store of that kind is configured.
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError>;

    /// The store of sources at an address: it refuses every write with [`ObjectError::ReadOnly`].
    ///
    /// # Errors
    /// As [`ObjectStores::open`].
    fn open_source(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError>;
}

/// Checks a key against the rules of [`ObjectStore`].
///
/// # Errors
/// [`ObjectError::BadKey`], naming the rule.
pub fn check_key(key: &str) -> Result<(), ObjectError> {
    let bad = |why| {
        Err(ObjectError::BadKey {
            key: key.to_owned(),
            why,
        })
    };
    if key.is_empty() {
        return bad("it is empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return bad("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return bad("it has a control character");
    }
    if key
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return bad("it has an empty, `.` or `..` segment");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_key;

    #[test]
    fn keys_that_leave_the_root_are_refused() {
        for key in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/./b",
            "a\nb",
            &"a".repeat(1025),
        ] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn plain_keys_pass() {
        for key in [
            "a",
            "videos/ab/ab12/g1/video/r720_h264/seg_00001_0a1b2c3d.m4s",
            "a b.mp4",
            ".x",
            "...",
        ] {
            assert!(check_key(key).is_ok(), "{key:?}");
        }
    }
}
