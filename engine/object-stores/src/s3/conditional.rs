use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use telecine_engine::objects::ObjectError;

use super::error::{self, Doing};
use super::{RESERVED, S3Store};

/// How often a write is repeated that met another one on its way.
const CONFLICTS: u32 = 8;

/// What became of a write that was only to succeed if there was no object.
enum Written {
    New,
    There,
    /// The service does not know the condition.
    Unknown,
}

/// Stores bytes if there is no object, and says whether it did.
pub(super) async fn put_new(store: &S3Store, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
    let (name, doing) = (store.name(key)?, store.doing("write", key));
    let heeds = || heeds_condition(store, doing);
    let heeded = *store.inner.conditional.get_or_try_init(heeds).await?;
    let unable = || ObjectError::NoConditionalWrites {
        store: store.inner.address.to_string(),
    };
    if !heeded {
        return Err(unable());
    }
    match put_if_none(store, &name, bytes, doing).await? {
        Written::New => Ok(true),
        Written::There => Ok(false),
        Written::Unknown => Err(unable()),
    }
}

/// Whether the service refuses a second object of a name. Some take the condition and do not look at
/// it, which nothing but trying tells.
async fn heeds_condition(store: &S3Store, doing: Doing<'_>) -> Result<bool, ObjectError> {
    let name = store.inner.address.name(&trial_key());
    let mut last = Written::New;
    for _ in 0..2 {
        if let Written::New = last {
            last = put_if_none(store, &name, Bytes::from_static(b"1"), doing).await?;
        }
    }
    let delete = store.client().await.delete_object();
    // What stays is one byte below a name that is never listed.
    let _ = delete.bucket(store.bucket()).key(name).send().await;
    Ok(matches!(last, Written::There))
}

/// A key that nobody else uses.
fn trial_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{RESERVED}/{}-{now:x}-{number}", std::process::id())
}

async fn put_if_none(
    store: &S3Store,
    name: &str,
    bytes: Bytes,
    doing: Doing<'_>,
) -> Result<Written, ObjectError> {
    let mut conflicts = 0;
    loop {
        let put = store.client().await.put_object();
        let put = put.bucket(store.bucket()).key(name).if_none_match("*");
        let Err(error) = put.body(ByteStream::from(bytes.clone())).send().await else {
            return Ok(Written::New);
        };
        match error::status(&error) {
            Some(412) => return Ok(Written::There),
            Some(501) => return Ok(Written::Unknown),
            // Another one of that name was written or deleted at that moment.
            Some(409) if conflicts < CONFLICTS => conflicts += 1,
            _ => return Err(doing.failed(error)),
        }
    }
}
