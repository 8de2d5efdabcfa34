use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use telecine_engine::objects::{ObjectStores as _, check_key};

use crate::cli::exit::CliError;
use crate::config::{Config, S3};

/// Where results go unless somebody says otherwise.
const OUT: &str = "out";

/// A source as the engine addresses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Address of its store or directory.
    pub(super) store: String,
    /// Its name in there.
    pub(super) key: String,
}

impl Source {
    /// The object that an address or a key names, or a file of this machine if sources are in no store.
    /// Whether there is such an object is not looked at.
    pub(super) fn find(named: &Path, store: Option<&str>) -> Result<Self, CliError> {
        let address = named.to_str().and_then(|text| text.strip_prefix(S3));
        if let Some(address) = address {
            let (bucket, key) = address.split_once('/').unwrap_or((address, ""));
            return Self::object(&format!("{S3}{bucket}"), key);
        }
        match store {
            Some(store) => Self::object(store, &named.to_string_lossy()),
            None => Self::file(named),
        }
    }

    fn object(store: &str, key: &str) -> Result<Self, CliError> {
        check_key(key)
            .map_err(|error| CliError::usage(format!("no source in {store}: {error}")))?;
        Ok(Self {
            store: store.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Looks at a file. Links are followed first: a store does not follow links out of its
    /// directory.
    fn file(path: &Path) -> Result<Self, CliError> {
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

/// The address of the store for results: what was asked for, else what is set; `directory` finds the one
/// of a directory.
pub(super) fn media_url(
    out: Option<&Path>,
    config: &Config,
    directory: impl FnOnce(&Path) -> Result<PathBuf, CliError>,
) -> Result<String, CliError> {
    match (out, &config.media_url) {
        (Some(out), _) => match out.to_str().filter(|text| text.contains("://")) {
            Some(url) => {
                let opened = config.objects.open_source(url);
                opened.map_err(|error| CliError::usage(error.to_string()))?;
                Ok(url.trim_end_matches('/').to_owned())
            }
            None => Ok(file_url(&directory(out)?)),
        },
        (None, Some(url)) => Ok(url.trim_end_matches('/').to_owned()),
        (None, None) => Ok(file_url(&directory(Path::new(OUT))?)),
    }
}

/// The directory for results: made if it is missing, and proved to be writable.
pub(in crate::cli) fn writable_directory(path: &Path) -> Result<PathBuf, CliError> {
    let unusable = |error: std::io::Error| {
        let name = path.display();
        CliError::usage(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("cannot write to the directory {name}: it is not a directory")
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
    fn an_address_is_an_object_and_so_is_a_key_of_a_store() {
        let found = |named: &str, store| Source::find(Path::new(named), store).unwrap();
        let source = |store: &str, key: &str| Source {
            store: store.to_owned(),
            key: key.to_owned(),
        };
        let expected = source("s3://bucket", "a/b.mp4");
        assert_eq!(found("s3://bucket/a/b.mp4", None), expected);
        assert_eq!(found("s3://bucket/a/b.mp4", Some("s3://other")), expected);
        let expected = source("s3://other/p", "a/b.mp4");
        assert_eq!(found("a/b.mp4", Some("s3://other/p")), expected);
        for bad in ["s3://bucket", "s3://bucket/", "s3://bucket/../x"] {
            assert!(Source::find(Path::new(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_stands_for_the_file_that_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("film.mp4"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("film.mp4"), dir.path().join("link.mp4"))
            .unwrap();

        let source = Source::find(&dir.path().join("link.mp4"), None).unwrap();
        assert_eq!(source.key, "film.mp4");
        assert_eq!(
            source.store,
            file_url(&fs::canonicalize(elsewhere).unwrap())
        );
    }
}
