//! A set as relative paths that can be read, wherever its files are.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

/// Which bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of them.
    Whole,
    /// So many from an offset on.
    Range {
        /// Where they begin.
        offset: u64,
        /// How many there are.
        len: u64,
    },
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// It has more bytes than were asked for.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A set of files under relative paths.
///
/// # Contract
///
/// * Paths are `/`-separated, with no empty, `.` or `..` segment.
/// * At most `limit` bytes are read; a larger file is [`SetError::TooLarge`].
/// * Nothing outside the set is ever read.
pub trait SetReader: Debug {
    /// Bytes of a file; fewer than the range has where the file ends earlier.
    ///
    /// # Errors
    /// See [`SetError`].
    fn read(&self, path: &str, part: Part, limit: u64) -> Result<Vec<u8>, SetError>;
}

/// A set in a directory. Symbolic links that leave it are not followed.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The set in a directory.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into().canonicalize()?;
        Ok(Self { root })
    }
}

impl SetReader for Directory {
    fn read(&self, path: &str, part: Part, limit: u64) -> Result<Vec<u8>, SetError> {
        let file = self.root.join(path).canonicalize().map_err(sorted)?;
        if !file.starts_with(&self.root) || !file.is_file() {
            return Err(SetError::NotFound);
        }
        let mut file = File::open(file).map_err(sorted)?;
        let wanted = match part {
            Part::Whole => limit.saturating_add(1),
            Part::Range { offset, len } => {
                file.seek(SeekFrom::Start(offset))?;
                len.min(limit.saturating_add(1))
            }
        };
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(SetError::TooLarge { limit });
        }
        Ok(bytes)
    }
}

fn sorted(error: io::Error) -> SetError {
    match error.kind() {
        // The last is of a name that no file can have.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            SetError::NotFound
        }
        // Links in a circle, for which the library has no stable name.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            SetError::NotFound
        }
        _ => SetError::Io(error),
    }
}

/// Why a URI names no file of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    /// No URI looks like that, for the reason told.
    Malformed(&'static str),
    /// It is well formed, and names something else than a file of the set.
    Outside(&'static str),
    /// It has variables of `EXT-X-DEFINE`, which are not followed.
    Variable,
}

/// The path in the set that a URI in the file `from` names.
///
/// # Errors
/// See [`Unresolved`].
pub fn resolve(from: &str, uri: &str) -> Result<String, Unresolved> {
    use Unresolved::{Malformed, Outside};
    if uri.contains("{$") {
        return Err(Unresolved::Variable);
    }
    let uri = uri.split('#').next().unwrap_or_default();
    let before_slash = uri.split(['/', '?']).next().unwrap_or_default();
    if uri.is_empty() {
        return Err(Malformed("it is empty"));
    }
    let decoded = percent_decoded(uri).map_err(Malformed)?;
    if before_slash.contains(':') || uri.starts_with('/') {
        return Err(Outside("it is not relative"));
    }
    if uri.contains('?') {
        return Err(Outside("it has a query"));
    }
    let directory = from.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut path: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in decoded.split('/') {
        match part {
            "" => return Err(Outside("it has an empty segment")),
            "." => {}
            ".." => {
                path.pop().ok_or(Outside("it leaves the set"))?;
            }
            part => path.push(part),
        }
    }
    Ok(path.join("/"))
}

fn percent_decoded(uri: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(uri.len());
    let mut rest = uri.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let pair = digit(rest.next()).zip(digit(rest.next()));
                let (high, low) = pair.ok_or("a percent sign is followed by no hex digits")?;
                bytes.push((high * 16 + low) as u8);
            }
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                return Err("it has a character that no URI has");
            }
            byte => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_resolved_against_their_playlist() {
        for (from, uri, path) in [
            ("master.m3u8", "video/a.m3u8", "video/a.m3u8"),
            ("video/a.m3u8", "b.m4s", "video/b.m4s"),
            ("video/a.m3u8", "../audio/./b.m4s", "audio/b.m4s"),
            ("video/a.m3u8", "b%20c.m4s", "video/b c.m4s"),
        ] {
            assert_eq!(resolve(from, uri).as_deref(), Ok(path), "{uri}");
        }
    }

    #[test]
    fn uris_that_leave_the_set_are_not_followed() {
        for uri in [
            "/etc/passwd",
            "../../x",
            "http://a/b",
            "file:x",
            "//a/b",
            "a//b",
            "%2e%2e/%2e%2e/x",
            "a?b=c",
        ] {
            let found = resolve("video/a.m3u8", uri);
            assert!(matches!(found, Err(Unresolved::Outside(_))), "{uri}");
        }
        let variable = resolve("video/a.m3u8", "{$base}/a.m4s");
        assert_eq!(variable, Err(Unresolved::Variable));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for uri in ["", "a%0ab", "a%zz", "a b", "%ff", "a{b}"] {
            let found = resolve("video/a.m3u8", uri);
            assert!(matches!(found, Err(Unresolved::Malformed(_))), "{uri}");
        }
    }

    #[test]
    fn names_that_no_file_can_have_are_not_there() {
        let set = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("circle", set.path().join("circle")).unwrap();
        let directory = Directory::open(set.path()).unwrap();
        for path in ["circle", &"a".repeat(300)] {
            let read = directory.read(path, Part::Whole, 9);
            assert!(matches!(read, Err(SetError::NotFound)), "{path}");
        }
    }

    #[test]
    fn a_link_out_of_the_directory_is_not_followed() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        let set = outer.path().join("set");
        std::fs::create_dir(&set).unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), set.join("a")).unwrap();
        let read = Directory::open(&set).unwrap().read("a", Part::Whole, 9);
        assert!(matches!(read, Err(SetError::NotFound)));
    }

    #[test]
    fn files_beyond_the_limit_are_refused() {
        let set = tempfile::tempdir().unwrap();
        std::fs::write(set.path().join("a"), [0; 10]).unwrap();
        let directory = Directory::open(set.path()).unwrap();
        assert_eq!(directory.read("a", Part::Whole, 10).unwrap().len(), 10);
        assert!(matches!(
            directory.read("a", Part::Whole, 9),
            Err(SetError::TooLarge { limit: 9 })
        ));
        let part = Part::Range { offset: 4, len: 3 };
        assert_eq!(directory.read("a", part, 9).unwrap().len(), 3);
    }
}
