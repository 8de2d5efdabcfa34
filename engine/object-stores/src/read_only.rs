use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use telecine_engine::objects::{Access, ObjectError, ObjectMeta, ObjectStore, ObjectStream};

/// A store that nothing is written to, whatever it would allow: that of sources.
#[derive(Debug, Clone)]
pub struct ReadOnly {
    store: Arc<dyn ObjectStore>,
}

impl ReadOnly {
    /// The reading side of a store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }
}

fn refused<T>(key: &str) -> Result<T, ObjectError> {
    telecine_engine::objects::check_key(key)?;
    Err(ObjectError::ReadOnly {
        key: key.to_owned(),
    })
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn ready(&self) -> Result<(), ObjectError> {
        self.store.ready().await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        self.store.head(key).await
    }

    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError> {
        self.store.read_range(key, offset, len).await
    }

    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        self.store.stream(key, range).await
    }

    async fn put_bytes(&self, key: &str, _: Bytes) -> Result<String, ObjectError> {
        refused(key)
    }

    async fn put_new(&self, key: &str, _: Bytes) -> Result<bool, ObjectError> {
        refused(key)
    }

    async fn put_file(&self, key: &str, _: &Path) -> Result<String, ObjectError> {
        refused(key)
    }

    async fn copy(&self, _: &str, to: &str) -> Result<String, ObjectError> {
        refused(to)
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        refused(key)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        self.store.list(prefix).await
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.store.list_directories(prefix).await
    }

    fn local_path(&self, key: &str) -> Result<Option<PathBuf>, ObjectError> {
        self.store.local_path(key)
    }

    async fn signed_url(
        &self,
        key: &str,
        access: Access,
        lifetime: Duration,
    ) -> Result<Option<String>, ObjectError> {
        match access {
            Access::Read => self.store.signed_url(key, access, lifetime).await,
            Access::Write => refused(key),
        }
    }

    /// What it would remove are writes, of others.
    async fn remove_unfinished(&self, _: Duration) -> Result<Vec<String>, ObjectError> {
        Ok(Vec::new())
    }
}
