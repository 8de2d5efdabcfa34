//! Networks that break and services that are busy.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::{ObjectError, ObjectStore as _};
use telecine_object_stores::{S3Options, S3Store};
use telecine_testkit::faults::{Fault, FaultProxy};
use telecine_testkit::servers::{S3_BUCKET, S3Place};

use super::{options, store, store_with, told};

const MIB: usize = 1 << 20;

/// A place, and a store there behind a proxy.
async fn behind_proxy() -> (S3Place, FaultProxy, S3Store) {
    let place = S3Place::create().await;
    let proxy = FaultProxy::start(&place.endpoint());
    let options = S3Options {
        endpoint: Some(proxy.url()),
        ..options(&place)
    };
    let store = store_with(&place, options);
    (place, proxy, store)
}

fn sent(proxy: &FaultProxy, part: &str) -> usize {
    let requests = proxy.requests();
    requests.iter().filter(|line| line.contains(part)).count()
}

async fn uploads(place: &S3Place) -> usize {
    let list = place.client().list_multipart_uploads().bucket(S3_BUCKET);
    let listed = list.prefix(place.prefix()).send().await.unwrap();
    listed.uploads().len()
}

async fn read(store: &S3Store, key: &str, range: Range<u64>) -> Result<Vec<u8>, ObjectError> {
    let pieces: Vec<Bytes> = store.stream(key, range).await?.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_service_that_is_busy_for_a_while_is_asked_again() {
    let (_place, proxy, store) = behind_proxy().await;
    proxy.next(3, "PUT", Fault::slow_down());
    let bytes = Bytes::from_static(b"x");
    store.put_bytes("k", bytes).await.unwrap();
    assert_eq!(sent(&proxy, "PUT"), 4);
    assert_eq!(store.read_range("k", 0, 9).await.unwrap(), "x");
}

#[tokio::test]
async fn a_service_that_stays_busy_is_a_dependency() {
    let (_place, proxy, store) = behind_proxy().await;
    proxy.next(100, "GET", Fault::slow_down());
    let error = store.read_range("k", 0, 9).await.unwrap_err();
    let (class, code, sentence) = told(&error);
    assert_eq!((class, code), (ErrorClass::Dependency, "store_busy"));
    assert!(sentence.contains("SlowDown"), "{sentence}");
    assert_eq!(sent(&proxy, "GET"), 5);
}

#[tokio::test]
async fn connections_that_end_at_once_are_made_again() {
    let (_place, proxy, store) = behind_proxy().await;
    proxy.next(2, "", Fault::HangUp);
    assert_eq!(store.head("k").await.unwrap(), None);
}

#[tokio::test]
async fn what_a_service_refuses_is_not_asked_again() {
    for (fault, code) in [
        (
            Fault::s3(403, "AccessDenied", "Access Denied"),
            "store_access_denied",
        ),
        (
            Fault::s3(403, "RequestTimeTooSkewed", "too far"),
            "store_clock_skew",
        ),
        (
            Fault::s3(301, "PermanentRedirect", "another endpoint"),
            "store_wrong_region",
        ),
    ] {
        let (_place, proxy, store) = behind_proxy().await;
        proxy.next(100, "GET", fault);
        let error = store.read_range("k", 0, 9).await.unwrap_err();
        assert_eq!(told(&error).0, ErrorClass::Config, "{error}");
        assert_eq!(told(&error).1, code, "{error}");
        assert_eq!(sent(&proxy, "GET"), 1, "{code}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_read_on_from_there() {
    let (place, proxy, store) = behind_proxy().await;
    let bytes: Vec<u8> = (0..3 * MIB).map(|at| (at >> 8) as u8).collect();
    let direct = super::store(&place);
    direct.put_bytes("k", bytes.clone().into()).await.unwrap();
    proxy.next(2, "GET", Fault::CutAnswer(MIB as u64));
    assert!(read(&store, "k", 0..u64::MAX).await.unwrap() == bytes);
    assert_eq!(sent(&proxy, "GET"), 3);
    proxy.next(1, "GET", Fault::CutAnswer(MIB as u64));
    let some = read(&store, "k", 5..2_900_000).await.unwrap();
    assert!(some == bytes[5..2_900_000]);
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_told() {
    let (place, proxy, store) = behind_proxy().await;
    let direct = super::store(&place);
    let old = Bytes::from(vec![1; 8 * MIB]);
    direct.put_bytes("k", old).await.unwrap();
    proxy.next(1, "GET", Fault::CutAnswer(6 * MIB as u64));
    let mut stream = store.stream("k", 0..u64::MAX).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap()[0], 1);
    let new = Bytes::from(vec![2; 8 * MIB]);
    direct.put_bytes("k", new).await.unwrap();
    let rest: Result<Vec<Bytes>, _> = stream.try_collect().await;
    let error = rest.unwrap_err();
    assert!(matches!(error, ObjectError::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_service_is_waited_for() {
    let (_place, proxy, store) = behind_proxy().await;
    proxy.next(100, "", Fault::Slow(MIB as u64));
    let bytes = Bytes::from(vec![7; MIB]);
    store.put_bytes("k", bytes.clone()).await.unwrap();
    assert!(read(&store, "k", 0..u64::MAX).await.unwrap() == bytes);
}

/// A file that is sent in three parts.
fn large_file(scratch: &tempfile::TempDir) -> std::path::PathBuf {
    let path = scratch.path().join("large");
    std::fs::write(&path, vec![5; 17 * MIB]).unwrap();
    path
}

#[tokio::test]
async fn a_part_that_fails_is_sent_again() {
    let (_place, proxy, store) = behind_proxy().await;
    let scratch = tempfile::tempdir().unwrap();
    proxy.next(1, "partNumber=2", Fault::slow_down());
    proxy.next(1, "partNumber=3", Fault::HangUp);
    let file = large_file(&scratch);
    store.put_file("k", &file).await.unwrap();
    assert_eq!(store.head("k").await.unwrap().unwrap().size, 17 << 20);
    assert!(!file.exists());
}

/// What a service says that has forgotten an upload.
fn forgotten() -> Fault {
    Fault::s3(404, "NoSuchUpload", "The upload may have been completed.")
}

/// The first line of the request that completes an upload has that, and no other.
const COMPLETE: &str = "?uploadId=";

#[tokio::test]
async fn an_upload_whose_end_was_not_heard_of_has_ended() {
    let (_place, proxy, store) = behind_proxy().await;
    let scratch = tempfile::tempdir().unwrap();
    proxy.next(1, COMPLETE, Fault::CutAnswer(1));
    proxy.next(1, COMPLETE, forgotten());
    let file = large_file(&scratch);
    store.put_file("k", &file).await.unwrap();
    assert_eq!(sent(&proxy, COMPLETE), 2);
    assert_eq!(store.head("k").await.unwrap().unwrap().size, 17 << 20);
    assert!(!file.exists());
}

#[tokio::test]
async fn an_upload_that_was_forgotten_without_an_object_is_a_dependency() {
    let (_place, proxy, store) = behind_proxy().await;
    let scratch = tempfile::tempdir().unwrap();
    let file = large_file(&scratch);
    for there in [None, Some(Bytes::from_static(b"an older one"))] {
        if let Some(bytes) = there {
            store.put_bytes("k", bytes).await.unwrap();
        }
        proxy.next(1, COMPLETE, forgotten());
        let error = store.put_file("k", &file).await.unwrap_err();
        let (class, code, sentence) = told(&error);
        assert_eq!((class, code), (ErrorClass::Dependency, "store_broke_off"));
        assert!(sentence.contains("NoSuchUpload"), "{sentence}");
        assert!(file.exists());
    }
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing_but_the_file() {
    let (place, proxy, store) = behind_proxy().await;
    let scratch = tempfile::tempdir().unwrap();
    let refused = Fault::s3(403, "AccessDenied", "Access Denied");
    proxy.next(100, "partNumber=2", refused);
    let file = large_file(&scratch);
    let error = store.put_file("k", &file).await.unwrap_err();
    assert_eq!(told(&error).1, "store_access_denied");
    assert_eq!(store.head("k").await.unwrap(), None);
    assert_eq!(uploads(&place).await, 0);
    assert!(file.exists());
}

#[tokio::test]
async fn an_upload_is_not_seen_before_its_end_and_aborted_when_it_is_given_up() {
    let (place, proxy, store) = behind_proxy().await;
    let scratch = tempfile::tempdir().unwrap();
    let file = large_file(&scratch);
    proxy.next(100, "partNumber=2", Fault::Silence);
    let store = Arc::new(store);
    let uploading = store.clone();
    let task = tokio::spawn(async move { uploading.put_file("k", &file).await });
    until(|| async { sent(&proxy, "partNumber=2") > 0 }).await;
    assert_eq!(store.head("k").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(uploads(&place).await, 1);
    task.abort();
    until(|| async { uploads(&place).await == 0 }).await;
    assert_eq!(store.head("k").await.unwrap(), None);
}

/// Waits until something is so, for ten seconds.
async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.expect("it happens within ten seconds");
}

#[tokio::test]
async fn a_service_that_ignores_conditions_is_not_asked_who_was_first() {
    let (_place, proxy, store) = behind_proxy().await;
    proxy.next(2, "PUT", Fault::Answer(200, String::new()));
    for _ in 0..2 {
        let error = store.put_new("k", Bytes::new()).await.unwrap_err();
        let told = matches!(error, ObjectError::NoConditionalWrites { .. });
        assert!(told, "{error:?}");
    }
    assert_eq!(sent(&proxy, "PUT"), 2, "it is tried out once");
}

#[tokio::test]
async fn trying_out_conditions_leaves_nothing() {
    let place = S3Place::create().await;
    let store = store(&place);
    assert!(store.put_new("k", Bytes::new()).await.unwrap());
    let list = place.client().list_objects_v2().bucket(S3_BUCKET);
    let listed = list.prefix(format!("{}/", place.prefix())).send().await;
    let names: Vec<_> = listed.unwrap().contents.unwrap_or_default();
    let names: Vec<_> = names.iter().filter_map(|object| object.key()).collect();
    assert_eq!(names, [format!("{}/k", place.prefix())]);
}
