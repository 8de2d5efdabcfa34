use std::io;
use std::path::Path;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use telecine_engine::objects::{ObjectError, ObjectStore as _};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};

use super::client::upload_timeouts;
use super::download::etag;
use super::media_type::media_type;
use super::{S3Store, unfinished};

/// The largest file that is sent in one piece.
const SINGLE_BYTES: u64 = 16 << 20;
/// The size of a part: large enough that a request costs little beside it, small enough that what a
/// broken connection repeats is not missed. S3 takes no part below 5 MiB but the last.
const PART_BYTES: u64 = 8 << 20;
/// S3 takes no more parts.
const MAX_PARTS: u64 = 10_000;
/// How many parts of one upload are in memory and on their way at a time: with parts of 8 MiB, 24 MiB.
/// Parts are read into memory because then their SHA-256 is signed, and the service refuses what was
/// damaged on its way.
pub(super) const PARTS_IN_FLIGHT: usize = 3;

/// Stores bytes, and answers the etag of the object.
pub(super) async fn bytes(store: &S3Store, key: &str, bytes: Bytes) -> Result<String, ObjectError> {
    let (name, doing) = (store.name(key)?, store.doing("write", key));
    let put = store.client().await.put_object();
    let sent = put
        .bucket(store.bucket())
        .key(name)
        .set_content_type(media_type(key))
        .body(ByteStream::from(bytes))
        .customize()
        .config_override(upload_timeouts())
        .send()
        .await;
    let sent = sent.map_err(|error| doing.failed(error))?;
    Ok(etag(sent.e_tag()))
}

/// Moves a file in, and answers the etag of the object.
pub(super) async fn file(store: &S3Store, key: &str, path: &Path) -> Result<String, ObjectError> {
    store.name(key)?;
    let failed = |source: io::Error| ObjectError::Io {
        doing: "write",
        key: key.to_owned(),
        source,
    };
    let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
    let etag = if size <= SINGLE_BYTES {
        let read = tokio::fs::read(path).await.map_err(failed)?;
        bytes(store, key, read.into()).await?
    } else {
        unfinished::remove_now_and_then(store).await;
        let upload = Upload::begin(store, key).await?;
        upload.send(path, size).await?
    };
    tokio::fs::remove_file(path).await.map_err(failed)?;
    Ok(etag)
}

/// An upload in parts: none of them is to be seen before it is completed. One that is dropped before
/// that is aborted.
struct Upload<'a> {
    key: &'a str,
    begun: Begun,
    completed: bool,
}

/// What the service knows an upload by.
#[derive(Clone)]
struct Begun {
    store: S3Store,
    name: String,
    id: String,
}

impl<'a> Upload<'a> {
    async fn begin(store: &S3Store, key: &'a str) -> Result<Self, ObjectError> {
        let (name, doing) = (store.name(key)?, store.doing("write", key));
        let create = store.client().await.create_multipart_upload();
        let created = create
            .bucket(store.bucket())
            .key(&name)
            .set_content_type(media_type(key))
            .send()
            .await
            .map_err(|error| doing.failed(error))?;
        Ok(Self {
            key,
            begun: Begun {
                store: store.clone(),
                name,
                id: created.upload_id.unwrap_or_default(),
            },
            completed: false,
        })
    }

    async fn send(mut self, path: &Path, size: u64) -> Result<String, ObjectError> {
        let part_bytes = part_bytes(size);
        let parts = (0..size.div_ceil(part_bytes)).map(|index| self.part(path, index, part_bytes));
        let sent: Result<Vec<CompletedPart>, _> = stream::iter(parts)
            .buffered(PARTS_IN_FLIGHT)
            .try_collect()
            .await;
        let done = match sent {
            Ok(parts) => self.complete(parts, size).await,
            Err(error) => Err(error),
        };
        self.completed = true;
        if done.is_err() {
            self.begun.abort().await;
        }
        done
    }

    /// Reads and sends one part, the first being 0.
    async fn part(
        &self,
        path: &Path,
        index: u64,
        part_bytes: u64,
    ) -> Result<CompletedPart, ObjectError> {
        let Begun { store, name, id } = &self.begun;
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let bytes = read_part(path, index * part_bytes, part_bytes).await;
        let bytes = bytes.map_err(|source| ObjectError::Io {
            doing: "write",
            key: self.key.to_owned(),
            source,
        })?;
        let upload = store.client().await.upload_part();
        let sent = upload
            .bucket(store.bucket())
            .key(name)
            .upload_id(id)
            .part_number(number)
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(upload_timeouts())
            .send()
            .await
            .map_err(|error| store.doing("write", self.key).failed(error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    /// An answer may be lost after everything was put together. The client library asks again then, and
    /// services that have forgotten the upload say that there is none.
    async fn complete(&self, parts: Vec<CompletedPart>, size: u64) -> Result<String, ObjectError> {
        let Begun { store, name, id } = &self.begun;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let complete = store.client().await.complete_multipart_upload();
        let completed = complete
            .bucket(store.bucket())
            .key(name)
            .upload_id(id)
            .multipart_upload(parts.build())
            .customize()
            // Putting thousands of parts together may take minutes.
            .config_override(upload_timeouts())
            .send()
            .await;
        let error = match completed {
            Ok(completed) => return Ok(etag(completed.e_tag())),
            Err(error) => error,
        };
        // One that large has a name that no earlier attempt used, so its size tells that it is there in full.
        if error.code() == Some("NoSuchUpload")
            && let Some(found) = self.begun.store.head(self.key).await?
            && found.size == size
        {
            return Ok(found.etag);
        }
        Err(store.doing("write", self.key).failed(error))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, Ok(runtime)) = (self.completed, runtime) {
            let begun = self.begun.clone();
            runtime.spawn(async move { begun.abort().await });
        }
    }
}

impl Begun {
    /// What this cannot remove, because the service is ill or this process is killed, is removed by
    /// [`unfinished::remove`] later.
    async fn abort(&self) {
        let abort = self.store.client().await.abort_multipart_upload();
        let aborted = abort
            .bucket(self.store.bucket())
            .key(&self.name)
            .upload_id(&self.id)
            .send()
            .await;
        if let Err(error) = aborted {
            tracing::debug!(name = self.name, %error, "an upload was not aborted; it is swept later");
        }
    }
}

/// The size of the parts of a file, the last one excepted.
fn part_bytes(size: u64) -> u64 {
    PART_BYTES.max(size.div_ceil(MAX_PARTS))
}

async fn read_part(path: &Path, offset: u64, len: u64) -> io::Result<Bytes> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let mut part = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    file.take(len).read_to_end(&mut part).await?;
    Ok(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_object_of_s3_fits_into_its_parts() {
        const TIB: u64 = 1 << 40;
        for size in [SINGLE_BYTES + 1, 50 << 30, 100 << 30, 5 * TIB] {
            assert!(size.div_ceil(part_bytes(size)) <= MAX_PARTS, "{size}");
        }
        assert_eq!(
            part_bytes(50 << 30),
            PART_BYTES,
            "the bound on memory holds"
        );
    }
}
