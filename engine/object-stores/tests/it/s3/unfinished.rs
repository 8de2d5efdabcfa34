//! What killed processes leave.

use std::time::Duration;

use telecine_engine::objects::ObjectStore as _;
use telecine_testkit::servers::{S3_BUCKET, S3Place};

use super::store;

#[tokio::test]
async fn an_upload_that_nobody_completes_is_found_once_it_is_old_enough() {
    let place = S3Place::create().await;
    let other = S3Place::create().await;
    for at in [&place, &other] {
        let begin = at.client().create_multipart_upload().bucket(S3_BUCKET);
        let begun = begin.key(format!("{}/a/k.m4s", at.prefix())).send().await;
        begun.unwrap();
    }
    let (store, day) = (store(&place), Duration::from_secs(24 * 3600));
    assert!(store.remove_unfinished(day).await.unwrap().is_empty());
    // Times of a service are whole seconds.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut removed = Vec::new();
    while removed.is_empty() && std::time::Instant::now() < deadline {
        removed = store.remove_unfinished(Duration::ZERO).await.unwrap();
    }
    assert_eq!(removed, ["a/k.m4s"]);
    let again = store.remove_unfinished(Duration::ZERO).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    let list = other.client().list_multipart_uploads().bucket(S3_BUCKET);
    let left = list.prefix(other.prefix()).send().await.unwrap();
    assert_eq!(left.uploads().len(), 1, "that of others stays");
}
