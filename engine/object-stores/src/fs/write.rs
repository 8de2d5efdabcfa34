use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use telecine_engine::objects::ObjectError;

use super::place::{Place, TEMPORARY_DIR};

/// Stores bytes, and answers what the object is like then.
pub(super) fn bytes(place: &Place, bytes: &[u8]) -> Result<Metadata, ObjectError> {
    through_temporary(place, |path| File::create_new(path)?.write_all(bytes))
}

/// Stores bytes if there is no object, and says whether it did.
pub(super) fn new_bytes(place: &Place, bytes: &[u8]) -> Result<bool, ObjectError> {
    prepare(place)?;
    let temporary = temporary_path(place).map_err(|e| place.error(e))?;
    let target = place.target();
    let written = File::create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| sync(&temporary).map(drop))
        .and_then(|()| name_new(&temporary, &target));
    // A second name was made of it, or it is litter.
    let _ = std::fs::remove_file(&temporary);
    match written {
        Ok(()) => sync_parent(&target).map(|()| true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
    .map_err(|e| place.error(e))
}

/// Gives a file a second name that nothing has; on file systems without second names, the new name
/// gets a copy.
fn name_new(file: &Path, target: &Path) -> io::Result<()> {
    match std::fs::hard_link(file, target) {
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::Unsupported | ErrorKind::PermissionDenied
            ) =>
        {
            let mut copy = File::create_new(target)?;
            io::copy(&mut File::open(file)?, &mut copy)?;
            copy.sync_all()
        }
        linked => linked,
    }
}

/// Stores a copy of a file. The kernel shares the blocks where the file system can.
pub(super) fn copy_of(place: &Place, from: &Path) -> Result<Metadata, ObjectError> {
    through_temporary(place, |path| std::fs::copy(from, path).map(drop))
}

/// Moves a file in. On the same file system that is a rename: no byte is written twice.
pub(super) fn take_over(place: &Place, file: &Path) -> Result<Metadata, ObjectError> {
    prepare(place)?;
    let synced = sync(file).map_err(|e| place.error(e))?;
    match std::fs::rename(file, place.target()) {
        Ok(()) => sync_parent(&place.target())
            .and_then(|()| synced.metadata())
            .map_err(|e| place.error(e)),
        Err(e) if e.kind() == ErrorKind::CrossesDevices => {
            let copied = copy_of(place, file)?;
            std::fs::remove_file(file).map_err(|e| place.error(e))?;
            Ok(copied)
        }
        Err(e) => Err(place.error(e)),
    }
}

/// Removes temporary files that are older than `grace`.
pub(super) fn remove_stale(root: &Path, grace: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(TEMPORARY_DIR))? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed();
        if age.is_ok_and(|age| age > grace) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a temporary file, syncs it and gives it its final name. Answers what it is like then, also if
/// somebody else has put another in its place already.
fn through_temporary(
    place: &Place,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<Metadata, ObjectError> {
    prepare(place)?;
    let temporary = temporary_path(place).map_err(|e| place.error(e))?;
    let target = place.target();
    let written = write(&temporary).and_then(|()| {
        let file = sync(&temporary)?;
        std::fs::rename(&temporary, &target)?;
        sync_parent(&target)?;
        file.metadata()
    });
    written.map_err(|e| {
        // After a failed rename the temporary file is litter; after a good one it is not there.
        let _ = std::fs::remove_file(&temporary);
        place.error(e)
    })
}

/// Makes the directories of a key, each durable in its parent, and checks that none is a link
/// that leads out.
fn prepare(place: &Place) -> Result<(), ObjectError> {
    if !place.has_root()? {
        make_root(place.root()).map_err(|e| place.error(e))?;
    }
    for directory in place.directories() {
        make_directory(&directory).map_err(|e| place.error(e))?;
        if directory.is_symlink() {
            place.inside(&directory.canonicalize().map_err(|e| place.error(e))?)?;
        }
    }
    Ok(())
}

fn make_root(root: &Path) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    sync_parent(root)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// A name that no other process and no other write of this one uses.
fn temporary_path(place: &Place) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let directory = place.root().join(TEMPORARY_DIR);
    make_directory(&directory)?;
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(directory.join(format!("{}-{started:x}-{number}", std::process::id())))
}

fn sync(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.sync_all().map(|()| file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    sync(
        path.parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )
    .map(drop)
}
