use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use telecine_engine::objects::{ObjectError, check_key};

use super::root::Root;

/// Where unfinished writes are, below the root: one place to clean, never listed, and no key may
/// begin with it.
pub(super) const TEMPORARY_DIR: &str = ".telecine-partial";

/// Where the object of a key is, and what is being done with it.
#[derive(Debug)]
pub(super) struct Place {
    root: Arc<Root>,
    key: String,
    doing: &'static str,
}

impl Place {
    pub(super) fn new(
        root: &Arc<Root>,
        doing: &'static str,
        key: &str,
    ) -> Result<Self, ObjectError> {
        check_key(key)?;
        let place = Self {
            root: root.clone(),
            key: key.to_owned(),
            doing,
        };
        if key.split('/').next() == Some(TEMPORARY_DIR) {
            return Err(place.bad_key("it names the directory of unfinished writes"));
        }
        Ok(place)
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Whether the root is there.
    ///
    /// # Errors
    /// That it is there no more.
    pub(super) fn has_root(&self) -> Result<bool, ObjectError> {
        self.root.is_there(self.doing, &self.key)
    }

    /// The path that a write of this key ends at. Its directory is inside the root.
    pub(super) fn target(&self) -> PathBuf {
        self.root().join(&self.key)
    }

    /// The path of the object, links resolved; `None` if there is nothing.
    pub(super) fn existing(&self) -> Result<Option<PathBuf>, ObjectError> {
        match self.target().canonicalize() {
            Ok(path) => self.inside(&path).map(|()| Some(path)),
            Err(e) if is_missing(&e) => self.has_root().map(|_| None),
            Err(e) => Err(self.error(e)),
        }
    }

    /// The path of an object that has to be there.
    pub(super) fn existing_file(&self) -> Result<PathBuf, ObjectError> {
        self.existing()?
            .filter(|path| path.is_file())
            .ok_or_else(|| ObjectError::NotFound {
                key: self.key.clone(),
            })
    }

    /// Checks that a resolved path has not left the root through a symbolic link.
    pub(super) fn inside(&self, resolved: &Path) -> Result<(), ObjectError> {
        let root = self.root().canonicalize().map_err(|e| self.error(e))?;
        if resolved.starts_with(&root) {
            return Ok(());
        }
        Err(self.bad_key("it leads out of the store's directory through a symbolic link"))
    }

    /// The key's directories, from the root's child down.
    pub(super) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let parent = Path::new(&self.key).parent().unwrap_or(Path::new(""));
        let mut path = self.root().to_owned();
        parent
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .map(move |name| {
                path.push(name);
                path.clone()
            })
    }

    pub(super) fn error(&self, source: io::Error) -> ObjectError {
        match source.kind() {
            ErrorKind::InvalidFilename => {
                self.bad_key("a part of it is too long for the file system")
            }
            _ => ObjectError::Io {
                doing: self.doing,
                key: self.key.clone(),
                source: self.name_if_full(source),
            },
        }
    }

    /// Says which disk is full: who has to make room is seldom who knows where the store is.
    fn name_if_full(&self, error: io::Error) -> io::Error {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => io::Error::new(
                error.kind(),
                format!("there is no room left in {}", self.root().display()),
            ),
            _ => error,
        }
    }

    pub(super) fn unless_missing(&self, error: io::Error) -> Result<(), ObjectError> {
        if is_missing(&error) {
            return Ok(());
        }
        Err(self.error(error))
    }

    fn bad_key(&self, why: &'static str) -> ObjectError {
        ObjectError::BadKey {
            key: self.key.clone(),
            why,
        }
    }
}

/// Nothing has that name; a file stands where a directory would be.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let root = Arc::new(Root::new("/media/out".into()));
        let place = Place::new(&root, "write", "videos/a.m4s").unwrap();
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = place.error(kind.into());
            let ObjectError::Io { source, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(source.kind(), kind, "its kind tells what to do");
            assert_eq!(
                error.to_string(),
                "cannot write videos/a.m4s: there is no room left in /media/out"
            );
        }
    }
}
