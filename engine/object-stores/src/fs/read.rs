use std::io;
use std::ops::Range;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream;
use telecine_engine::objects::{ObjectError, ObjectStream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};

/// How much of a file is read at a time: large enough that the hop to a thread that may block costs
/// little beside it.
const PIECE_BYTES: usize = 256 * 1024;

/// The bytes of a range of a file. The file stays open: who replaces it meanwhile changes nothing.
pub(super) async fn stream(
    path: PathBuf,
    key: String,
    range: Range<u64>,
) -> Result<ObjectStream, ObjectError> {
    let failed = move |source: io::Error| ObjectError::Io {
        doing: "read",
        key: key.clone(),
        source,
    };
    let mut file = File::open(path).await.map_err(&failed)?;
    file.seek(SeekFrom::Start(range.start))
        .await
        .map_err(&failed)?;
    let left = range.end.saturating_sub(range.start);
    let pieces = stream::try_unfold((file, left), next);
    Ok(pieces.map(move |piece| piece.map_err(&failed)).boxed())
}

async fn next((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
    let mut piece = BytesMut::with_capacity(wanted);
    let read = (&mut file).take(wanted as u64).read_buf(&mut piece).await?;
    Ok((read > 0).then(|| (piece.freeze(), (file, left - read as u64))))
}
