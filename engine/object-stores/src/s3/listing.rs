use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime as SdkTime;
use chrono::{DateTime, Utc};
use telecine_engine::objects::{ObjectError, check_key};

use super::{RESERVED, S3Store};

/// Keys that begin with `prefix`, in order, with their sizes. Names of the bucket that are no keys
/// (`directory/`) are left out, and so is what the store tried out.
pub(super) async fn objects(
    store: &S3Store,
    prefix: &str,
) -> Result<Vec<(String, u64)>, ObjectError> {
    let mut found = Vec::new();
    each_page(store, prefix, None, |page| {
        for object in page.contents() {
            let name = object.key().unwrap_or_default();
            if let Some(key) = key(store, name) {
                let size = object.size().unwrap_or_default().unsigned_abs();
                found.push((key.to_owned(), size));
            }
        }
    })
    .await?;
    // Not every service keeps the order of bytes.
    found.sort_unstable();
    Ok(found)
}

/// The distinct beginnings of keys, up to and with the next `/`.
pub(super) async fn directories(store: &S3Store, prefix: &str) -> Result<Vec<String>, ObjectError> {
    let mut found = Vec::new();
    each_page(store, prefix, Some("/"), |page| {
        for directory in page.common_prefixes() {
            let name = directory.prefix().unwrap_or_default();
            let is_key = key(store, name.trim_end_matches('/')).is_some();
            found.extend(
                store
                    .inner
                    .address
                    .key(name)
                    .filter(|_| is_key)
                    .map(str::to_owned),
            );
        }
    })
    .await?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The key of an object that the store may show.
fn key<'a>(store: &S3Store, name: &'a str) -> Option<&'a str> {
    let key = store.inner.address.key(name)?;
    let is_shown = check_key(key).is_ok() && key.split('/').next() != Some(RESERVED);
    is_shown.then_some(key)
}

async fn each_page(
    store: &S3Store,
    prefix: &str,
    delimiter: Option<&str>,
    mut visit: impl FnMut(&ListObjectsV2Output),
) -> Result<(), ObjectError> {
    check_prefix(prefix)?;
    let list = store.client().await.list_objects_v2();
    let mut pages = list
        .bucket(store.bucket())
        .prefix(store.inner.address.name(prefix))
        .set_delimiter(delimiter.map(str::to_owned))
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let doing = store.doing("list", prefix);
        visit(&page.map_err(|error| doing.failed(error))?);
    }
    Ok(())
}

/// What is before the last `/` has to be a key, as in every store.
fn check_prefix(prefix: &str) -> Result<(), ObjectError> {
    match prefix.rsplit_once('/') {
        Some((parent, _)) => check_key(parent),
        None => Ok(()),
    }
}

/// A time of the service.
pub(super) fn time(time: &SdkTime) -> DateTime<Utc> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos()).unwrap_or_default()
}
