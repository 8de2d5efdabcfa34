use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use telecine_engine::objects::{ObjectError, ObjectStream};

use super::{S3Store, error};

/// How often in a row a body may break off without a byte more.
const BREAKS: u32 = 4;
/// The pause after the first of them; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The most that is set aside before anything has come.
const CAPACITY_BYTES: usize = 1 << 20;

/// An object that is being read.
struct Download {
    store: S3Store,
    key: String,
    name: String,
    /// What is still to come.
    range: Range<u64>,
    /// Of the object as it was when it was opened.
    etag: Option<String>,
    body: ByteStream,
    breaks: u32,
}

/// The bytes of a range as they come. Where a connection breaks, it goes on at that byte.
pub(super) async fn open(
    store: &S3Store,
    key: &str,
    range: Range<u64>,
) -> Result<ObjectStream, ObjectError> {
    let name = store.name(key)?;
    let got = match range.is_empty() {
        false => get(store, (key, &name), &range, None).await?,
        true => exists(store, key).await.map(|()| None)?,
    };
    let Some(got) = got else {
        return Ok(stream::empty().boxed());
    };
    let download = Download {
        store: store.clone(),
        key: key.to_owned(),
        name,
        range,
        etag: got.e_tag,
        body: got.body,
        breaks: 0,
    };
    Ok(stream::try_unfold(download, Download::next).boxed())
}

async fn exists(store: &S3Store, key: &str) -> Result<(), ObjectError> {
    use telecine_engine::objects::ObjectStore as _;
    let found = store.head(key).await?;
    found
        .map(drop)
        .ok_or_else(|| store.doing("read", key).missing())
}

/// Begins to read a range; none if the object ends before it. With an etag, only of that object.
async fn get(
    store: &S3Store,
    (key, name): (&str, &str),
    range: &Range<u64>,
    etag: Option<&str>,
) -> Result<Option<GetObjectOutput>, ObjectError> {
    let asked = store.client().await.get_object();
    let asked = asked.bucket(store.bucket()).key(name);
    let got = asked
        .set_range(header(range))
        .set_if_match(etag.map(str::to_owned))
        .send()
        .await;
    match got {
        Ok(got) => Ok(Some(got)),
        Err(error) => match error::status(&error) {
            Some(416) => Ok(None),
            Some(412) => Err(ObjectError::Changed {
                key: key.to_owned(),
            }),
            _ => Err(store.doing("read", key).failed(error)),
        },
    }
}

/// None for a whole object: a range of an empty one cannot be answered.
fn header(range: &Range<u64>) -> Option<String> {
    match (range.start, range.end) {
        (0, u64::MAX) => None,
        (start, u64::MAX) => Some(format!("bytes={start}-")),
        (start, end) => Some(format!("bytes={start}-{}", end - 1)),
    }
}

impl Download {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ObjectError> {
        loop {
            match self.body.next().await {
                Some(Ok(bytes)) => {
                    self.range.start += bytes.len() as u64;
                    self.breaks = 0;
                    return Ok(Some((bytes, self)));
                }
                None => return Ok(None),
                Some(Err(_)) if self.range.is_empty() => return Ok(None),
                Some(Err(error)) if self.breaks == BREAKS => {
                    return Err(self.store.doing("read", &self.key).broke_off(error));
                }
                Some(Err(_)) => {
                    if !self.reopen().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Asks for what is still to come; whether there is any.
    async fn reopen(&mut self) -> Result<bool, ObjectError> {
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(self.breaks)).await;
        self.breaks += 1;
        let object = (self.key.as_str(), self.name.as_str());
        let got = get(&self.store, object, &self.range, self.etag.as_deref()).await?;
        let more = got.is_some();
        if let Some(got) = got {
            self.body = got.body;
        }
        Ok(more)
    }
}

/// All of a stream, of which at most so many bytes come.
pub(super) async fn collect(mut stream: ObjectStream, len: usize) -> Result<Bytes, ObjectError> {
    let mut all = BytesMut::with_capacity(len.min(CAPACITY_BYTES));
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

/// An etag without its quotes.
pub(super) fn etag(quoted: Option<&str>) -> String {
    quoted.unwrap_or_default().trim_matches('"').to_owned()
}
