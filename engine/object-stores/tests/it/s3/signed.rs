//! Addresses that need no credentials.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use telecine_engine::objects::{Access, ObjectStore as _};
use telecine_testkit::servers::S3Place;

use super::{store, told};

const MINUTE: Duration = Duration::from_secs(60);

/// Asks without a client library; answers the status and the body.
fn ask(method: &str, url: &str, body: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    write!(
        connection,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_address_lets_its_bearer_do_one_thing() {
    let place = S3Place::create().await;
    let store = store(&place);
    let url = async |access, lifetime| {
        let signed = store.signed_url("a b/ü.txt", access, lifetime).await;
        signed.unwrap().unwrap()
    };
    let write = url(Access::Write, MINUTE).await;
    assert!(!write.contains(&place.secret_key()) || place.secret_key() == place.access_key());
    assert_eq!(ask("PUT", &write, "hello").0, 200);
    let read = url(Access::Read, MINUTE).await;
    assert_eq!(ask("GET", &read, ""), (200, "hello".to_owned()));
    assert_eq!(store.read_range("a b/ü.txt", 0, 9).await.unwrap(), "hello");

    assert_eq!(ask("PUT", &read, "other").0, 403);
    let changed = read.replace("%20b", "%20c");
    assert_eq!(ask("GET", &changed, "").0, 403);
    let short = url(Access::Read, Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(ask("GET", &short, "").0, 403);
}

#[tokio::test]
async fn an_address_for_longer_than_a_week_is_refused() {
    let place = S3Place::create().await;
    let store = store(&place);
    let month = Duration::from_secs(30 * 24 * 3600);
    let error = store.signed_url("k", Access::Read, month).await;
    assert_eq!(told(&error.unwrap_err()).1, "bad_lifetime");
}
