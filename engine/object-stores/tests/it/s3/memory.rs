//! How much memory large objects take.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;

use futures_util::StreamExt as _;
use nix::sys::resource::{UsageWho, getrusage};
use telecine_engine::objects::ObjectStore as _;
use telecine_testkit::servers::S3Place;

use super::store;

const SIZE: u64 = 200 << 20;
/// Three parts of 8 MiB are in memory, what the connections hold, and what allocators keep.
const GROWTH_BYTES: u64 = 64 << 20;
const MARK: &[u8] = b"nearly at the end";
/// Set in the process that is measured.
const MEASURED: &str = "TELECINE_TEST_MEASURED";

/// In a process of its own: what other tests allocate is not to be measured.
#[test]
fn two_hundred_megabytes_go_up_and_down_in_a_third_of_that() {
    let name = "s3::memory::two_hundred_megabytes_go_up_and_down_in_a_third_of_that";
    if std::env::var_os(MEASURED).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(go_up_and_down());
    }
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&test.stdout);
    assert!(test.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

async fn go_up_and_down() {
    let place = S3Place::create().await;
    let store = store(&place);
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("large");
    let mut made = std::fs::File::create(&file).unwrap();
    made.set_len(SIZE).unwrap();
    made.seek(SeekFrom::Start(SIZE - 1000)).unwrap();
    made.write_all(MARK).unwrap();
    // What the client needs once is not counted.
    store.head("k").await.unwrap();
    let before = peak_bytes();

    store.put_file("k", &file).await.unwrap();
    let mut stream = store.stream("k", 0..u64::MAX).await.unwrap();
    let mut came = 0;
    let mut end = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        came += piece.len() as u64;
        if came > SIZE - 2000 {
            end.extend_from_slice(&piece);
        }
    }
    let growth = peak_bytes() - before;
    store.delete("k").await.unwrap();

    assert_eq!(came, SIZE);
    assert!(end.windows(MARK.len()).any(|bytes| bytes == MARK));
    println!("the peak grew by {} KiB", growth >> 10);
    assert!(growth < GROWTH_BYTES, "the peak grew by {growth} bytes");
}

/// The most memory that this process has had at once.
fn peak_bytes() -> u64 {
    let peak = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss();
    // macOS counts bytes, Linux KiB.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(peak).unwrap() * unit
}
