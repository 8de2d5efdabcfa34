use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::ObjectError;

/// The directory of a store. Once it has been there, it is not made again: what it is on may be unmounted, and whatever
/// is written or missed would be so somewhere else. A mount point itself is there all the same, and empty.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    has_been_there: AtomicBool,
}

impl Root {
    /// One that need not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        let has_been_there = AtomicBool::new(path.is_dir());
        Self {
            path,
            has_been_there,
        }
    }

    /// One that others make.
    pub(super) fn of_others(path: PathBuf) -> Self {
        Self {
            path,
            has_been_there: AtomicBool::new(true),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// That it is there no more.
    pub(super) fn is_there(&self, doing: &'static str, key: &str) -> Result<bool, ObjectError> {
        if self.path.is_dir() {
            self.has_been_there.store(true, Ordering::Relaxed);
            return Ok(true);
        }
        if !self.has_been_there.load(Ordering::Relaxed) {
            return Ok(false);
        }
        Err(ObjectError::Service {
            doing,
            key: key.to_owned(),
            class: ErrorClass::Dependency,
            code: "store_unreachable",
            why: format!(
                "the directory {} is not there any more: mount it, put it back, or make it anew",
                self.path.display()
            ),
            source: None,
        })
    }
}
