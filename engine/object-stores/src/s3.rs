//! Objects in a bucket of S3, or of a service that speaks its language.
//!
//! Requests are tried again by the client library (`standard` mode): broken connections, timeouts,
//! 429, 500, 502, 503, 504 and throttling, [`client::ATTEMPTS`] times in all with growing pauses. It
//! does not try again once an answer has begun; [`download`] does that, from the byte where it broke.
//! What is left is told by class: what the service may get over is `dependency`, what somebody has to
//! set right is `config`.

mod address;
mod client;
mod conditional;
mod copy;
mod download;
mod error;
mod listing;
mod media_type;
mod options;
mod signed;
mod unfinished;
mod upload;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use telecine_engine::objects::{
    Access, MAX_KEY_BYTES, ObjectError, ObjectMeta, ObjectStore, ObjectStream, check_key,
};
use tokio::sync::OnceCell;

use address::Address;
use error::Doing;
pub use options::{S3Credentials, S3Options};

/// No key begins with this segment: below it the store tries out what its service can do.
const RESERVED: &str = ".telecine-partial";

/// Objects below one prefix of one bucket. Cheap to clone.
///
/// Nothing is asked of the service before the first request.
#[derive(Debug, Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: Address,
    options: S3Options,
    client: OnceCell<Client>,
    /// Set once the bucket has answered.
    found: OnceCell<()>,
    /// Whether the service heeds `If-None-Match`.
    conditional: OnceCell<bool>,
    /// When this process has looked for uploads that others left.
    looked: unfinished::Looked,
}

impl S3Store {
    /// The store at an address: `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// [`ObjectError::Unsupported`] if it is no such address.
    pub fn new(url: &str, options: S3Options) -> Result<Self, ObjectError> {
        Ok(Self {
            inner: Arc::new(Inner {
                address: Address::parse(url)?,
                options,
                client: OnceCell::new(),
                found: OnceCell::new(),
                conditional: OnceCell::new(),
                looked: unfinished::Looked::default(),
            }),
        })
    }

    async fn client(&self) -> &Client {
        let connect = || client::connect(&self.inner.options);
        self.inner.client.get_or_init(connect).await
    }

    fn bucket(&self) -> &str {
        &self.inner.address.bucket
    }

    /// The name of an object in the bucket.
    fn name(&self, key: &str) -> Result<String, ObjectError> {
        check_key(key)?;
        let bad = |why| ObjectError::BadKey {
            key: key.to_owned(),
            why,
        };
        if key.split('/').next() == Some(RESERVED) {
            return Err(bad("it names the directory of unfinished writes"));
        }
        let name = self.inner.address.name(key);
        if name.len() > MAX_KEY_BYTES {
            return Err(bad(
                "with the prefix of the store it is longer than 1024 bytes",
            ));
        }
        Ok(name)
    }

    fn doing<'a>(&'a self, doing: &'static str, key: &'a str) -> Doing<'a> {
        Doing {
            doing,
            key,
            address: &self.inner.address,
            endpoint: self.inner.options.endpoint.as_deref(),
        }
    }

    /// Makes sure once that the bucket exists: an answer without a body, as HEAD gets, does not say
    /// which of the two is missing. Who may not ask about the bucket is taken to have one.
    async fn find_bucket(&self, doing: Doing<'_>) -> Result<(), ObjectError> {
        let look = || async {
            let asked = self.client().await.head_bucket().bucket(self.bucket());
            match asked.send().await {
                Err(error) if error::status(&error) == Some(404) => Err(doing.no_bucket()),
                _ => Ok(()),
            }
        };
        self.inner.found.get_or_try_init(look).await.copied()
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        let (name, doing) = (self.name(key)?, self.doing("look at", key));
        let asked = self.client().await.head_object();
        match asked.bucket(self.bucket()).key(name).send().await {
            Ok(found) => Ok(Some(ObjectMeta {
                size: found.content_length().unwrap_or_default().unsigned_abs(),
                etag: download::etag(found.e_tag()),
                modified: found.last_modified().map(listing::time).unwrap_or_default(),
            })),
            Err(error) if error::status(&error) == Some(404) => {
                self.find_bucket(doing).await.map(|()| None)
            }
            Err(error) => Err(doing.failed(error)),
        }
    }

    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError> {
        let end = offset.saturating_add(len as u64);
        let stream = self.stream(key, offset..end).await?;
        download::collect(stream, len).await
    }

    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        download::open(self, key, range).await
    }

    async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<String, ObjectError> {
        upload::bytes(self, key, bytes).await
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        conditional::put_new(self, key, bytes).await
    }

    /// A large file is sent in parts, of which [`upload::PARTS_IN_FLIGHT`] are in memory at a time.
    async fn put_file(&self, key: &str, file: &Path) -> Result<String, ObjectError> {
        upload::file(self, key, file).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<String, ObjectError> {
        copy::copy(self, from, to).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let (name, doing) = (self.name(key)?, self.doing("delete", key));
        let asked = self.client().await.delete_object();
        let deleted = asked.bucket(self.bucket()).key(name).send().await;
        deleted.map(drop).map_err(|error| doing.failed(error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        listing::objects(self, prefix).await
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        listing::directories(self, prefix).await
    }

    fn local_path(&self, key: &str) -> Result<Option<PathBuf>, ObjectError> {
        self.name(key).map(|_| None)
    }

    async fn signed_url(
        &self,
        key: &str,
        access: Access,
        lifetime: Duration,
    ) -> Result<Option<String>, ObjectError> {
        signed::url(self, key, access, lifetime).await.map(Some)
    }

    async fn remove_unfinished(&self, grace: Duration) -> Result<Vec<String>, ObjectError> {
        unfinished::remove(self, grace).await
    }
}
