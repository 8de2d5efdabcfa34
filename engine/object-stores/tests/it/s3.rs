//! The S3 store on a real server.

use std::sync::Arc;

use telecine_object_stores::{S3Credentials, S3Options, S3Store};
use telecine_testkit::conformance::objects::Fixture;
use telecine_testkit::servers::S3Place;

mod conformance {
    telecine_testkit::object_store_conformance!(super::fixture());
}

async fn fixture() -> Fixture {
    let place = S3Place::create().await;
    Fixture::new(Arc::new(store(&place)), None)
}

fn store(place: &S3Place) -> S3Store {
    S3Store::new(&place.url(), options(place)).expect("an address of a bucket")
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
