//! The data directory: made for its owner alone, and refused where file locks mean nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use telecine_engine::store::StoreError;

/// Name of the database in a data directory.
const DATABASE_FILE: &str = "telecine.db";

/// Readable by its owner: job inputs may hold what others must not see.
const MODE: u32 = 0o700;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The database.
    pub(crate) database: PathBuf,
    /// Lock files of sessions.
    pub(crate) sessions: PathBuf,
    /// Held by the process that opens the database.
    opening: PathBuf,
}

impl Directory {
    /// Waits until no other process opens the database. While a new database becomes a
    /// write-ahead logged one, SQLite answers "busy" at once, whatever the timeout: about one in
    /// twenty times that eight stores opened a new directory together, one of them failed. Blocks.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        let lock = || {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.opening)?;
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        };
        lock().map_err(|error| cannot("write", &self.opening, &error))
    }
}

/// Makes what is missing of the directory. Blocks.
pub(crate) fn prepare(path: &Path) -> Result<Directory, StoreError> {
    let directory = Directory {
        database: path.join(DATABASE_FILE),
        sessions: path.join("sessions"),
        opening: path.join("opening.lock"),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(MODE)
        .create(&directory.sessions)
        .map_err(|error| cannot("make the directory", &directory.sessions, &error))?;
    match network_file_system(path) {
        None => Ok(directory),
        Some(kind) => Err(StoreError::Incompatible(format!(
            "{} is on a network file system ({kind}), where SQLite cannot keep several processes \
             apart: use a directory on a local disk",
            path.display()
        ))),
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(message),
        // SQLite writes to the files beside the database even to read it.
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            StoreError::Unavailable(format!(
                "{message}: to look into a data directory that cannot be written, copy it to where \
                 you can write and name the copy with --data-dir"
            ))
        }
        _ => StoreError::Unavailable(message),
    }
}

/// Whether a data directory holds a database. One that may not be looked into is taken to hold one: who
/// opens it is told why that cannot be.
#[must_use]
pub fn holds_database(directory: &Path) -> bool {
    directory.join(DATABASE_FILE).try_exists().unwrap_or(true)
}

/// What kind of network file system the directory is on, if it is on one. One that cannot be told
/// is taken for local.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    NETWORK
        .iter()
        .find(|(magic, _)| *magic == kind as u32)
        .map(|(_, name)| *name)
}

/// Magic numbers of statfs(2). FUSE is among them although some of its file systems are local: most
/// are not, and none promises the shared memory that the write-ahead log needs.
#[cfg(target_os = "linux")]
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7375_7245, "Coda"),
];

/// As above: macOS says of each file system whether it is local.
#[cfg(target_vendor = "apple")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    const MNT_LOCAL: u32 = 0x1000;
    let flags = rustix::fs::statfs(path).ok()?.f_flags;
    (flags & MNT_LOCAL == 0).then_some("not local")
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn network_file_system(_path: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        prepare(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = prepare(&file.join("data")).unwrap_err().to_string();
        assert!(
            error.contains(&format!("cannot make the directory {}", file.display())),
            "{error}"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_written_says_how_to_look_into_it() {
        for kind in [
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::PermissionDenied,
        ] {
            let error = cannot("write", Path::new("data"), &kind.into()).to_string();
            assert!(error.contains("name the copy with --data-dir"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_looked_into_is_not_taken_for_an_empty_one() {
        let home = tempfile::tempdir().unwrap();
        assert!(!holds_database(&home.path().join("missing")));
        let circle = home.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert!(holds_database(&circle));
    }

    #[test]
    fn a_local_directory_is_no_network_file_system() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(home.path()), None);
    }
}
