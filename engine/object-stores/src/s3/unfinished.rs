use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use telecine_engine::objects::{OWN_PREFIXES, ObjectError};

use super::error::status;
use super::{S3Store, listing};

/// An upload of this age belongs to nobody: one of the largest source takes hours at worst.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How often a process looks for such uploads: what it finds too young at its start is found later.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3600);

/// When a process looked last.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<Option<Instant>>);

impl Looked {
    /// Whether it is time to look again, which whoever is told so does.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now - last >= LOOK_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Before an upload in parts, a few times a day: who leaves such things looks for them. Who may not do that is
/// not kept from working.
pub(super) async fn remove_now_and_then(store: &S3Store) {
    if !store.inner.looked.is_due(Instant::now()) {
        return;
    }
    if let Err(error) = remove(store, STALE_AFTER).await {
        tracing::debug!(%error, "uploads that never ended were not looked for");
    }
}

/// Aborts the uploads of what telecine makes below the store's prefix that began longer ago than `grace`;
/// answers their keys. A store may be a whole bucket that others write to as well. Clocks of services and clients differ by minutes at most: beyond that requests are refused.
pub(super) async fn remove(store: &S3Store, grace: Duration) -> Result<Vec<String>, ObjectError> {
    let before = Utc::now() - grace;
    let mut found = Vec::new();
    for own in OWN_PREFIXES {
        found.extend(stale(store, own, before).await?);
    }
    let (mut removed, mut failed) = (Vec::new(), None);
    for upload in found {
        let doing = store.doing("remove an unfinished upload of", &upload.key);
        let abort = store.client().await.abort_multipart_upload();
        let abort = abort.bucket(store.bucket()).upload_id(upload.id);
        let aborted = abort
            .key(store.inner.address.name(&upload.key))
            .send()
            .await;
        match aborted {
            Ok(_) => removed.push(upload.key),
            // Others look as well.
            Err(error) if status(&error) == Some(404) => {}
            Err(error) => failed = failed.or_else(|| Some(doing.failed(error))),
        }
    }
    match failed {
        Some(error) if removed.is_empty() => Err(error),
        Some(error) => {
            tracing::debug!(%error, "some uploads that never ended are left");
            Ok(removed)
        }
        None => Ok(removed),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_looks_at_its_start_and_then_every_six_hours() {
        let (looked, start) = (Looked::default(), Instant::now());
        let hours = |n: u64| start + Duration::from_secs(n * 3600);
        let due = [0, 0, 5, 6, 7, 11, 12].map(|n| looked.is_due(hours(n)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
