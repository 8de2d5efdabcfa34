//! The S3 store on a real server.

mod faults;
mod memory;
mod signed;
mod unfinished;

use std::sync::Arc;

use bytes::Bytes;
use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::{ObjectError, ObjectStore as _, ObjectStores as _};
use telecine_object_stores::{S3Credentials, S3Options, S3Store, Stores};
use telecine_testkit::conformance::objects::Fixture;
use telecine_testkit::servers::{S3_BUCKET, S3Place};

mod conformance {
    telecine_testkit::object_store_conformance!(super::fixture());
}

async fn fixture() -> Fixture {
    let place = S3Place::create().await;
    Fixture::new(Arc::new(store(&place)), None)
}

fn store(place: &S3Place) -> S3Store {
    store_with(place, options(place))
}

fn store_with(place: &S3Place, options: S3Options) -> S3Store {
    S3Store::new(&place.url(), options).expect("an address of a bucket")
}

fn options(place: &S3Place) -> S3Options {
    S3Options {
        endpoint: Some(place.endpoint()),
        region: None,
        credentials: Some(S3Credentials {
            access_key: place.access_key(),
            secret_key: place.secret_key(),
        }),
    }
}

/// Class, code and sentence of what a service is to blame for.
#[track_caller]
fn told(error: &ObjectError) -> (ErrorClass, &'static str, String) {
    let ObjectError::Service { class, code, .. } = error else {
        panic!("{error:?}");
    };
    (*class, code, error.to_string())
}

#[tokio::test]
async fn stores_are_opened_by_address_and_those_of_sources_refuse_writes() {
    let place = S3Place::create().await;
    let stores = Stores::new(options(&place), options(&place));
    let media = stores.open(&place.url()).unwrap();
    media
        .put_bytes("k", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let source = stores.open_source(&place.url()).unwrap();
    assert_eq!(source.read_range("k", 0, 9).await.unwrap(), "x");
    let refused = source.delete("k").await.unwrap_err();
    assert!(
        matches!(refused, ObjectError::ReadOnly { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn stores_below_other_prefixes_of_a_bucket_do_not_see_each_other() {
    let (one, other) = (S3Place::create().await, S3Place::create().await);
    let bytes = Bytes::from_static(b"x");
    store(&one).put_bytes("k", bytes).await.unwrap();
    assert_eq!(store(&other).head("k").await.unwrap(), None);
    assert!(store(&other).list("").await.unwrap().is_empty());
    let both = S3Store::new(&format!("s3://{S3_BUCKET}"), options(&one)).unwrap();
    let listed = both.list(&format!("{}/", one.prefix())).await.unwrap();
    assert_eq!(listed, [(format!("{}/k", one.prefix()), 1)]);
}

#[tokio::test]
async fn objects_are_served_under_the_names_that_players_know() {
    let place = S3Place::create().await;
    for (key, expected) in [
        ("master.m3u8", Some("application/vnd.apple.mpegurl")),
        ("video/seg_00001_0a1b2c3d.m4s", Some("video/mp4")),
        ("cover.jpg", Some("image/jpeg")),
    ] {
        let bytes = Bytes::from_static(b"x");
        store(&place).put_bytes(key, bytes).await.unwrap();
        let asked = place.client().head_object().bucket(S3_BUCKET);
        let found = asked.key(format!("{}/{key}", place.prefix())).send().await;
        assert_eq!(found.unwrap().content_type(), expected, "{key}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let place = S3Place::create().await;
    let store = S3Store::new("s3://no-such-bucket-here/p", options(&place)).unwrap();
    let asked = [
        store.head("k").await.unwrap_err(),
        store.read_range("k", 0, 1).await.unwrap_err(),
        store.list("").await.unwrap_err(),
    ];
    for error in asked {
        let (class, code, sentence) = told(&error);
        assert_eq!((class, code), (ErrorClass::Config, "bucket_missing"));
        let says = "has no bucket no-such-bucket-here; create it or correct the address";
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_told() {
    let place = S3Place::create().await;
    let wrong = |access: &str, secret: &str| S3Options {
        credentials: Some(S3Credentials {
            access_key: access.to_owned(),
            secret_key: secret.to_owned(),
        }),
        ..options(&place)
    };
    for options in [
        wrong(&place.access_key(), "not the secret"),
        wrong("nobody", &place.secret_key()),
    ] {
        let error = store_with(&place, options).read_range("k", 0, 1).await;
        let (class, code, sentence) = told(&error.unwrap_err());
        assert_eq!(class, ErrorClass::Config);
        assert_eq!(code, "store_credentials_refused");
        assert!(!sentence.contains("not the secret"), "{sentence}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_dependency() {
    let place = S3Place::create().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let options = S3Options {
        endpoint: Some(endpoint.clone()),
        ..options(&place)
    };
    let error = store_with(&place, options).head("k").await.unwrap_err();
    let (class, code, sentence) = told(&error);
    assert_eq!((class, code), (ErrorClass::Dependency, "store_unreachable"));
    assert!(sentence.contains(&endpoint), "{sentence}");
}
