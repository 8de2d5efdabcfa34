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
    assert_eq!(store.head("k").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    let mut removed = Vec::new();
    while removed.is_empty() && Instant::now() < deadline {
        removed = store.remove_unfinished(Duration::ZERO).await.unwrap();
    }
    assert_eq!(removed, ["k"], "what it began is found");
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
    store.put_file("k", &file).await.unwrap();
}
