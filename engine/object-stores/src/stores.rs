use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use telecine_engine::objects::{ObjectError, ObjectStore, ObjectStores};

use crate::fs::FsStores;
use crate::read_only::ReadOnly;
use crate::s3::{S3Options, S3Store};

/// What an address of S3 begins with.
const S3: &str = "s3://";

/// Opens stores by address: `file:///directory`, `s3://bucket` and `s3://bucket/prefix`.
///
/// Sources and results have settings of their own, and neither is inferred from the other. A store
/// that was opened stays: it keeps connections, and what it has found out about its service.
#[derive(Debug, Default)]
pub struct Stores {
    source: Role,
    media: Role,
    /// Directories for results, by address: they know that they were there.
    directories: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// The stores of one role.
#[derive(Debug, Default)]
struct Role {
    options: S3Options,
    /// By address. Addresses come from the people who run telecine, so there are few.
    open: Mutex<HashMap<String, Arc<S3Store>>>,
}

impl Role {
    fn open(&self, url: &str) -> Result<Arc<S3Store>, ObjectError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(url) {
            return Ok(store.clone());
        }
        let store = Arc::new(S3Store::new(url, self.options.clone())?);
        open.insert(url.to_owned(), store.clone());
        Ok(store)
    }
}

impl Stores {
    /// Stores that reach S3 with these settings.
    #[must_use]
    pub fn new(source: S3Options, media: S3Options) -> Self {
        let role = |options| Role {
            options,
            open: Mutex::default(),
        };
        Self {
            source: role(source),
            media: role(media),
            directories: Mutex::default(),
        }
    }
}

impl Stores {
    fn directory(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let mut open = self
            .directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(url) {
            return Ok(store.clone());
        }
        let store = FsStores.open(url)?;
        open.insert(url.to_owned(), store.clone());
        Ok(store)
    }
}

impl ObjectStores for Stores {
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        match url.starts_with(S3) {
            true => Ok(self.media.open(url)?),
            false => self.directory(url),
        }
    }

    fn open_source(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        match url.starts_with(S3) {
            true => Ok(Arc::new(ReadOnly::new(self.source.open(url)?))),
            false => FsStores.open_source(url),
        }
    }
}
