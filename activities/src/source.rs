//! How an object becomes a local file: media libraries seek, so they need one.

use std::path::{Path, PathBuf};

use telecine_engine::activity::{ActivityError, Context, Progress};
use telecine_engine::objects::{ObjectError, SourceStore};

/// The largest source, in bytes.
const MAX_SOURCE_BYTES: u64 = 50 << 30;

/// How much has to be downloaded before that is told.
const PIECE_BYTES: u64 = 8 << 20;

/// Name of a downloaded source in the scratch directory.
const SCRATCH_NAME: &str = "source";

/// A source that can be opened as a file for as long as the attempt lives.
#[derive(Debug)]
pub(crate) struct LocalSource {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
}

/// A [source](Context::locate) as a file: in place if the store has it in one, else downloaded to
/// the scratch directory.
pub(crate) async fn local(ctx: &Context, source: &str) -> Result<LocalSource, ActivityError> {
    local_within(ctx, source, MAX_SOURCE_BYTES).await
}

/// As [`local`], for sources of at most so many bytes; nothing of a larger one is read.
pub(crate) async fn local_within(
    ctx: &Context,
    source: &str,
    max_bytes: u64,
) -> Result<LocalSource, ActivityError> {
    let (store, key) = ctx.locate(source);
    let found = store.head(key).await?;
    let size_bytes = found
        .ok_or_else(|| ObjectError::NotFound {
            key: key.to_owned(),
        })?
        .size;
    if size_bytes > max_bytes {
        return Err(ActivityError::input(
            "source_too_large",
            format!("the source has {size_bytes} bytes; at most {max_bytes} are taken"),
        ));
    }
    if let Some(path) = store.local_path(key)? {
        return Ok(LocalSource { path, size_bytes });
    }
    let path = ctx.scratch().join(SCRATCH_NAME);
    fetch(ctx, store, (key, size_bytes), &path).await?;
    Ok(LocalSource { path, size_bytes })
}

/// Copies an object into a file.
pub(crate) async fn fetch(
    ctx: &Context,
    store: SourceStore<'_>,
    (key, size_bytes): (&str, u64),
    to: &Path,
) -> Result<(), ActivityError> {
    // What an earlier call of this attempt has left.
    let _ = std::fs::remove_file(to);
    let copied = |bytes| {
        // Pieces, not bytes: the tool that follows counts frames from 0, and has to overtake.
        ctx.progress(Progress {
            counter: bytes / PIECE_BYTES,
            ..Progress::default()
        });
    };
    if store.download(key, to, &copied).await? < size_bytes {
        return Err(shrunk(key));
    }
    Ok(())
}

fn shrunk(key: &str) -> ActivityError {
    ActivityError::transient(
        "object_changed",
        format!("the object {key} became shorter while it was read"),
    )
}

/// A directory of the attempt's scratch space, made if it is not there.
pub(crate) fn scratch_dir(ctx: &Context, name: &str) -> Result<PathBuf, ActivityError> {
    let path = ctx.scratch().join(name);
    std::fs::create_dir_all(&path).map_err(|e| ActivityError::io("make a scratch directory", e))?;
    Ok(path)
}
