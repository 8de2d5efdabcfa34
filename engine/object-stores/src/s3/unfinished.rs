use std::time::Duration;

use chrono::{DateTime, Utc};
use telecine_engine::objects::{OWN_PREFIXES, ObjectError};

use super::{S3Store, listing};

/// An upload of this age belongs to nobody: one of the largest source takes hours at worst.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Once per process, before its first upload in parts: who leaves such things looks for them. Who may
/// not do that is not kept from working.
pub(super) async fn remove_once(store: &S3Store) {
    let sweep = || async {
        if let Err(error) = remove(store, STALE_AFTER).await {
            tracing::debug!(%error, "uploads that never ended were not looked for");
        }
    };
    store.inner.swept.get_or_init(sweep).await;
}

/// Aborts the uploads of what telecine makes below the store's prefix that began longer ago than `grace`;
/// answers their keys. A store may be a whole bucket that others write to as well. Clocks of services and clients differ by minutes at most: beyond that requests are refused.
pub(super) async fn remove(store: &S3Store, grace: Duration) -> Result<Vec<String>, ObjectError> {
    let before = Utc::now() - grace;
    let mut found = Vec::new();
    for own in OWN_PREFIXES {
        found.extend(stale(store, own, before).await?);
    }
    let mut removed = Vec::new();
    for upload in found {
        let doing = store.doing("remove an unfinished upload of", &upload.key);
        let abort = store.client().await.abort_multipart_upload();
        let abort = abort.bucket(store.bucket()).upload_id(upload.id);
        let aborted = abort
            .key(store.inner.address.name(&upload.key))
            .send()
            .await;
        aborted.map_err(|error| doing.failed(error))?;
        removed.push(upload.key);
    }
    Ok(removed)
}

/// An upload that was begun and not completed.
struct Unfinished {
    key: String,
    id: String,
}

async fn stale(
    store: &S3Store,
    own: &str,
    before: DateTime<Utc>,
) -> Result<Vec<Unfinished>, ObjectError> {
    let (mut found, mut key_marker, mut id_marker) = (Vec::new(), None, None);
    loop {
        let list = store.client().await.list_multipart_uploads();
        let page = list
            .bucket(store.bucket())
            .prefix(store.inner.address.name(own))
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await
            .map_err(|error| store.doing("list", "unfinished uploads").failed(error))?;
        for upload in page.uploads() {
            let began = upload.initiated().map(listing::time);
            let key = upload.key().and_then(|name| store.inner.address.key(name));
            let (Some(key), Some(id)) = (key, upload.upload_id()) else {
                continue;
            };
            if began.is_some_and(|began| began < before) {
                found.push(Unfinished {
                    key: key.to_owned(),
                    id: id.to_owned(),
                });
            }
        }
        if page.is_truncated() != Some(true) {
            return Ok(found);
        }
        (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
    }
}
