use std::io;
use std::path::Path;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::{ObjectError, ObjectStream};

/// Writes a stream into a file that is not there yet; answers its size.
pub(super) async fn to_file(
    mut bytes: ObjectStream,
    key: &str,
    to: &Path,
    copied: &(dyn Fn(u64) + Send + Sync),
) -> Result<u64, ObjectError> {
    let failed = |source: io::Error| ObjectError::Io {
        doing: "make a local copy of",
        key: key.to_owned(),
        source,
    };
    let mut file = tokio::fs::File::create_new(to).await.map_err(failed)?;
    let mut size = 0;
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        file.write_all(&piece).await.map_err(failed)?;
        size += piece.len() as u64;
        copied(size);
    }
    file.flush().await.map_err(failed)?;
    Ok(size)
}
