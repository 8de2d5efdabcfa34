use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use telecine_engine::objects::check_key;

use crate::cli::exit::CliError;

/// A source file as the engine addresses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Address of its directory.
    pub(super) store: String,
    /// Its name in there.
    pub(super) key: String,
}

impl Source {
    /// Looks at a file. Links are followed first: a store does not follow links out of its
    /// directory.
    pub(super) fn find(path: &Path) -> Result<Self, CliError> {
        let name = path.display();
        let real = fs::canonicalize(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => CliError::not_found(format!("there is no file {name}")),
            _ => CliError::usage(format!("cannot read {name}: {error}")),
        })?;
        let unreadable = |error| CliError::usage(format!("cannot read {name}: {error}"));
        // Asked before it is opened: opening a pipe that nobody writes to would wait for ever.
        let kind = fs::metadata(&real).map_err(unreadable)?;
        if kind.is_dir() {
            return Err(CliError::usage(format!(
                "{name} is a directory; name a file in it"
            )));
        }
        if !kind.is_file() {
            return Err(CliError::usage(format!("{name} is not a regular file")));
        }
        File::open(&real).map_err(unreadable)?;
        let unusable = |why: &str| CliError::usage(format!("cannot use {name}: {why}"));
        let (Some(parent), Some(file)) = (real.parent(), real.file_name()) else {
            return Err(unusable("it has no name"));
        };
        let key = file
            .to_str()
            .ok_or_else(|| unusable("its name is not UTF-8; rename it"))?;
        check_key(key).map_err(|error| unusable(&format!("{error}; rename it")))?;
        Ok(Self {
            store: file_url(parent),
            key: key.to_owned(),
        })
    }
}

/// The directory for results: made if it is missing, and proved to be writable.
pub(in crate::cli) fn writable_directory(path: &Path) -> Result<PathBuf, CliError> {
    let unusable = |error: std::io::Error| {
        let name = path.display();
        CliError::usage(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("cannot write to the directory {name}: what has that name is none")
            }
            _ => format!("cannot write to the directory {name}: {error}"),
        })
    };
    fs::create_dir_all(path).map_err(unusable)?;
    let real = fs::canonicalize(path).map_err(unusable)?;
    let probe = real.join(format!(".telecine-probe-{}", std::process::id()));
    fs::write(&probe, b"x").map_err(unusable)?;
    fs::remove_file(&probe).map_err(unusable)?;
    Ok(real)
}

/// Where [`writable_directory`] would be: as far as it exists already, links are followed.
pub(in crate::cli) fn future_directory(path: &Path) -> Result<PathBuf, CliError> {
    let unusable = |error| CliError::usage(format!("cannot use {}: {error}", path.display()));
    let path = std::path::absolute(path).map_err(unusable)?;
    for there in path.ancestors() {
        if let Ok(real) = fs::canonicalize(there) {
            let missing = path.strip_prefix(there).unwrap_or(Path::new(""));
            // Joining nothing would leave a slash behind.
            return Ok(real.components().chain(missing.components()).collect());
        }
    }
    Ok(path)
}

/// The `file://` address of an absolute path.
pub(in crate::cli) fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                url.push(char::from(*byte));
            }
            // Writing to a string cannot fail.
            other => {
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_odd_characters_become_addresses() {
        assert_eq!(
            file_url(Path::new("/media/a b/100%/ü?#")),
            "file:///media/a%20b/100%25/%C3%BC%3F%23"
        );
    }

    #[test]
    fn a_link_stands_for_the_file_that_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("film.mp4"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("film.mp4"), dir.path().join("link.mp4"))
            .unwrap();

        let source = Source::find(&dir.path().join("link.mp4")).unwrap();
        assert_eq!(source.key, "film.mp4");
        assert_eq!(
            source.store,
            file_url(&fs::canonicalize(elsewhere).unwrap())
        );
    }
}
