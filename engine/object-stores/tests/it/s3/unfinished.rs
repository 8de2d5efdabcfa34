//! What killed processes leave.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use telecine_engine::objects::ObjectStore as _;
use telecine_object_stores::{S3Options, S3Store};
use telecine_testkit::faults::{Fault, FaultProxy};
use telecine_testkit::servers::{S3_BUCKET, S3Place};

use super::{options, store};

/// Address of the store and endpoint, in the process that is killed.
const KILLED: &str = "TELECINE_TEST_KILLED";
/// What that process uploads.
const KEY: &str = "videos/k";

/// Begins an upload behind a store's back.
async fn begin(at: &S3Place, key: &str) {
    let begin = at.client().create_multipart_upload().bucket(S3_BUCKET);
    let begun = begin.key(format!("{}/{key}", at.prefix())).send().await;
    begun.unwrap();
}

/// Keys of uploads that were begun and not completed, in order.
async fn begun(at: &S3Place) -> Vec<String> {
    let list = at.client().list_multipart_uploads().bucket(S3_BUCKET);
    let prefix = format!("{}/", at.prefix());
    let listed = list.prefix(&prefix).send().await.unwrap();
    let names = listed.uploads().iter().filter_map(|upload| upload.key());
    let keys = names.filter_map(|name| name.strip_prefix(&prefix));
    let mut keys: Vec<_> = keys.map(str::to_owned).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn uploads_of_others_in_the_same_bucket_are_left_alone() {
    let place = S3Place::create().await;
    let own = ["cache/k", "images/k", "videos/k"];
    let others = ["backup/k", "videos-of-others/k"];
    for key in own.iter().chain(&others) {
        begin(&place, key).await;
    }
    // Times of a service are whole seconds.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut removed = Vec::new();
    while removed.len() < own.len() && Instant::now() < deadline {
        removed.extend(
            store(&place)
                .remove_unfinished(Duration::ZERO)
                .await
                .unwrap(),
        );
    }
    removed.sort();
    assert_eq!(removed, own);
    assert_eq!(begun(&place).await, others);
}

#[tokio::test]
async fn an_upload_that_nobody_completes_is_found_once_it_is_old_enough() {
    let place = S3Place::create().await;
    let other = S3Place::create().await;
    for at in [&place, &other] {
        begin(at, "videos/k.m4s").await;
    }
    let (store, day) = (store(&place), Duration::from_secs(24 * 3600));
    assert!(store.remove_unfinished(day).await.unwrap().is_empty());
    // Times of a service are whole seconds.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut removed = Vec::new();
    while removed.is_empty() && std::time::Instant::now() < deadline {
        removed = store.remove_unfinished(Duration::ZERO).await.unwrap();
    }
    assert_eq!(removed, ["videos/k.m4s"]);
    let again = store.remove_unfinished(Duration::ZERO).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(
        begun(&other).await,
        ["videos/k.m4s"],
        "that of others stays"
    );
}

/// The process is this one, started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_in_the_middle_of_an_upload_leaves_no_object() {
    let name =
        "s3::unfinished::a_process_that_is_killed_in_the_middle_of_an_upload_leaves_no_object";
    let place = S3Place::create().await;
    if let Ok(killed) = std::env::var(KILLED) {
        return upload_until_killed(&place, &killed).await;
    }
    let proxy = FaultProxy::start(&place.endpoint());
    proxy.next(100, "partNumber=2", Fault::Silence);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(KILLED, format!("{} {}", place.url(), proxy.url()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_part = |line: &String| line.contains("partNumber=2");
    while !proxy.requests().iter().any(is_part) {
        assert!(Instant::now() < deadline, "the second part is being sent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let store = store(&place);
    assert_eq!(store.head(KEY).await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    let mut removed = Vec::new();
    while removed.is_empty() && Instant::now() < deadline {
        removed = store.remove_unfinished(Duration::ZERO).await.unwrap();
    }
    assert_eq!(removed, [KEY], "what it began is found");
}

async fn upload_until_killed(place: &S3Place, at: &str) {
    let (url, endpoint) = at.split_once(' ').unwrap();
    let options = S3Options {
        endpoint: Some(endpoint.to_owned()),
        ..options(place)
    };
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("large");
    let made = std::fs::File::create(&file).unwrap();
    made.set_len(17 << 20).unwrap();
    let store = S3Store::new(url, options).unwrap();
    store.put_file(KEY, &file).await.unwrap();
}
