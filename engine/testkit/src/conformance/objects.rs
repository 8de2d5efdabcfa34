//! What every [`ObjectStore`] does; an implementation calls
//! [`object_store_conformance!`](crate::object_store_conformance) with a way to make an empty one.
#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use telecine_engine::objects::{Access, ObjectError, ObjectStore};

const MINUTE: Duration = Duration::from_secs(60);

/// An empty store, and what has to live as long as it.
#[derive(Debug)]
pub struct Fixture {
    /// The store under test; nothing is in it.
    pub store: Arc<dyn ObjectStore>,
    /// A directory for files that are moved into the store.
    pub scratch: tempfile::TempDir,
    /// Removed when the case is over, if the store lives in a directory.
    pub home: Option<tempfile::TempDir>,
}

impl Fixture {
    /// A store with a fresh scratch directory.
    ///
    /// # Panics
    /// If no directory can be made.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, home: Option<tempfile::TempDir>) -> Self {
        Self {
            store,
            scratch: tempfile::tempdir().expect("a scratch directory"),
            home,
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, bytes).expect("a scratch file");
        path
    }

    async fn put(&self, key: &str, bytes: &'static [u8]) {
        self.store
            .put_bytes(key, Bytes::from_static(bytes))
            .await
            .expect("the bytes are stored");
    }

    async fn read(&self, key: &str) -> Bytes {
        self.store
            .read_range(key, 0, usize::MAX >> 1)
            .await
            .expect("the object is read")
    }

    async fn streamed(&self, key: &str, range: Range<u64>) -> Vec<u8> {
        let stream = self.store.stream(key, range).await;
        let pieces = stream.expect("the stream begins").try_collect::<Vec<_>>();
        pieces.await.expect("the stream ends").concat()
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.store.list(prefix).await.expect("the keys are listed");
        listed.into_iter().map(|(key, _)| key).collect()
    }
}

/// Runs the suite on the store that the expression makes: a future of a [`Fixture`], one per case.
#[macro_export]
macro_rules! object_store_conformance {
    ($fixture:expr) => {
        $crate::object_store_conformance! { $fixture;
            stored_bytes_are_read_back
            an_empty_object_is_an_object
            a_missing_object_has_no_head
            reading_a_missing_object_says_so
            a_directory_of_objects_is_no_object
            a_write_replaces_what_was_there
            a_range_ends_where_the_object_ends
            a_stream_ends_where_the_range_or_the_object_does
            streaming_a_missing_object_says_so
            a_downloaded_file_is_the_object
            nothing_is_downloaded_over_a_file
            a_large_file_is_stored_and_streamed_whole
            a_stored_file_is_gone_from_where_it_was
            a_stored_file_replaces_what_was_there
            a_missing_file_is_not_stored
            the_etag_changes_with_the_bytes
            the_etag_stays_while_the_bytes_do
            a_write_answers_the_etag
            a_copy_does_not_follow_its_origin
            copying_a_missing_object_says_so
            a_deleted_object_is_gone
            deleting_what_is_not_there_succeeds
            keys_are_listed_in_order_with_sizes
            a_prefix_may_end_inside_a_name
            nothing_is_listed_for_an_unknown_prefix
            directories_are_listed_once_each
            bad_keys_are_refused_everywhere
            keys_may_hold_spaces_and_letters_of_any_script
            concurrent_writes_leave_one_of_them_whole
            of_writers_of_a_new_object_one_is_told_that_it_was
            a_local_path_holds_the_bytes
            what_is_finished_is_not_removed_as_unfinished
        }
    };
    ($fixture:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::objects::$case($fixture.await).await;
            }
        )*
    };
}

/// See the name.
pub async fn stored_bytes_are_read_back(on: Fixture) {
    on.put("a/b/c.bin", b"hello").await;
    assert_eq!(on.read("a/b/c.bin").await, "hello");
    let head = on.store.head("a/b/c.bin").await.unwrap().unwrap();
    assert_eq!(head.size, 5);
    assert!(!head.etag.is_empty());
}

/// See the name.
pub async fn an_empty_object_is_an_object(on: Fixture) {
    on.put("empty", b"").await;
    assert_eq!(on.store.head("empty").await.unwrap().unwrap().size, 0);
    assert_eq!(on.read("empty").await, "");
}

/// See the name.
pub async fn a_missing_object_has_no_head(on: Fixture) {
    assert_eq!(on.store.head("nothing/here").await.unwrap(), None);
    on.put("file", b"x").await;
    assert_eq!(on.store.head("file/below").await.unwrap(), None);
}

/// See the name.
pub async fn reading_a_missing_object_says_so(on: Fixture) {
    let error = on.store.read_range("no", 0, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::NotFound { key } if key == "no"));
}

/// See the name.
pub async fn a_directory_of_objects_is_no_object(on: Fixture) {
    on.put("dir/file", b"x").await;
    assert_eq!(on.store.head("dir").await.unwrap(), None);
    let error = on.store.read_range("dir", 0, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::NotFound { .. }));
}

/// See the name.
pub async fn a_write_replaces_what_was_there(on: Fixture) {
    on.put("k", b"a longer first version").await;
    on.put("k", b"second").await;
    assert_eq!(on.read("k").await, "second");
}

/// See the name.
pub async fn a_range_ends_where_the_object_ends(on: Fixture) {
    on.put("k", b"0123456789").await;
    let range = async |offset, len| on.store.read_range("k", offset, len).await.unwrap();
    assert_eq!(range(2, 3).await, "234");
    assert_eq!(range(8, 100).await, "89");
    assert_eq!(range(10, 1).await, "");
    assert_eq!(range(99, 1).await, "");
    assert_eq!(range(0, 0).await, "");
}

/// See the name.
pub async fn a_stream_ends_where_the_range_or_the_object_does(on: Fixture) {
    on.put("k", b"0123456789").await;
    assert_eq!(on.streamed("k", 0..u64::MAX).await, b"0123456789");
    assert_eq!(on.streamed("k", 2..5).await, b"234");
    assert_eq!(on.streamed("k", 8..100).await, b"89");
    assert_eq!(on.streamed("k", 10..11).await, b"");
    assert_eq!(on.streamed("k", 99..u64::MAX).await, b"");
    assert_eq!(on.streamed("k", 3..3).await, b"");
    on.put("empty", b"").await;
    assert_eq!(on.streamed("empty", 0..u64::MAX).await, b"");
}

/// See the name.
pub async fn streaming_a_missing_object_says_so(on: Fixture) {
    for range in [0..u64::MAX, 5..9, 3..3] {
        let error = on.store.stream("no", range).await.err();
        assert!(matches!(error, Some(ObjectError::NotFound { key }) if key == "no"));
    }
}

/// See the name.
pub async fn a_downloaded_file_is_the_object(on: Fixture) {
    let bytes = vec![7; 700_000];
    on.store
        .put_bytes("k", Bytes::from(bytes.clone()))
        .await
        .unwrap();
    let to = on.scratch.path().join("copy");
    let told = Mutex::new(Vec::new());
    let copied = |bytes| told.lock().unwrap().push(bytes);
    assert_eq!(on.store.download("k", &to, &copied).await.unwrap(), 700_000);
    assert_eq!(std::fs::read(to).unwrap(), bytes);
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&700_000));
}

/// See the name.
pub async fn nothing_is_downloaded_over_a_file(on: Fixture) {
    on.put("k", b"new").await;
    let there = on.file("there", b"old");
    assert!(on.store.download("k", &there, &|_| ()).await.is_err());
    assert_eq!(std::fs::read(there).unwrap(), b"old");
}

/// Large enough that a store which sends parts sends several, the last one of them short.
pub async fn a_large_file_is_stored_and_streamed_whole(on: Fixture) {
    const SIZE: usize = (20 << 20) + 3;
    let bytes: Vec<u8> = (0..SIZE / 4 + 1)
        .flat_map(|number| u32::try_from(number).unwrap().to_be_bytes())
        .take(SIZE)
        .collect();
    let file = on.file("large", &bytes);
    let etag = on.store.put_file("d/large.bin", &file).await.unwrap();
    assert!(!file.exists());
    let head = on.store.head("d/large.bin").await.unwrap().unwrap();
    assert_eq!((head.size, head.etag), (SIZE as u64, etag));
    let whole = on.streamed("d/large.bin", 0..u64::MAX).await;
    assert!(whole == bytes, "every byte is where it was");
    // Over the seam of two parts, wherever a store makes them at a megabyte.
    for seam in [8 << 20, 16 << 20] {
        let near = on.store.read_range("d/large.bin", seam - 5, 10).await;
        let seam = usize::try_from(seam).unwrap();
        assert_eq!(near.unwrap(), bytes[seam - 5..seam + 5]);
    }
    on.store.delete("d/large.bin").await.unwrap();
}

/// See the name.
pub async fn what_is_finished_is_not_removed_as_unfinished(on: Fixture) {
    on.put("a/k", b"here").await;
    let removed = on.store.remove_unfinished(Duration::ZERO).await.unwrap();
    assert!(removed.is_empty(), "{removed:?}");
    assert_eq!(on.read("a/k").await, "here");
}

/// See the name.
pub async fn a_stored_file_is_gone_from_where_it_was(on: Fixture) {
    let file = on.file("made.bin", b"made");
    on.store.put_file("deep/er/made.bin", &file).await.unwrap();
    assert_eq!(on.read("deep/er/made.bin").await, "made");
    assert!(!file.exists());
}

/// See the name.
pub async fn a_stored_file_replaces_what_was_there(on: Fixture) {
    on.put("k", b"first").await;
    let file = on.file("second", b"second");
    on.store.put_file("k", &file).await.unwrap();
    assert_eq!(on.read("k").await, "second");
}

/// See the name.
pub async fn a_missing_file_is_not_stored(on: Fixture) {
    let missing = on.scratch.path().join("missing");
    assert!(on.store.put_file("k", &missing).await.is_err());
    assert_eq!(on.store.head("k").await.unwrap(), None);
    assert!(on.keys("").await.is_empty());
}

/// See the name.
pub async fn the_etag_changes_with_the_bytes(on: Fixture) {
    let mut seen = std::collections::BTreeSet::new();
    for bytes in [b"one", b"two", b"six"] {
        on.put("k", bytes).await;
        seen.insert(on.store.head("k").await.unwrap().unwrap().etag);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// See the name.
pub async fn the_etag_stays_while_the_bytes_do(on: Fixture) {
    on.put("k", b"one").await;
    let first = on.store.head("k").await.unwrap();
    on.put("other", b"two").await;
    on.read("k").await;
    assert_eq!(on.store.head("k").await.unwrap(), first);
}

/// See the name.
pub async fn a_write_answers_the_etag(on: Fixture) {
    let file = on.file("moved", b"moved");
    let put = on.store.put_bytes("put", Bytes::from_static(b"put")).await;
    let moved = on.store.put_file("moved", &file).await;
    let copied = on.store.copy("put", "copied").await;
    for (key, answered) in [("put", put), ("moved", moved), ("copied", copied)] {
        let there = on.store.head(key).await.unwrap().unwrap();
        assert_eq!(answered.unwrap(), there.etag, "{key}");
    }
}

/// See the name.
pub async fn a_copy_does_not_follow_its_origin(on: Fixture) {
    on.put("from", b"first").await;
    on.put("into/to", b"to be replaced").await;
    on.store.copy("from", "into/to").await.unwrap();
    on.put("from", b"second").await;
    assert_eq!(on.read("into/to").await, "first");
    on.store.delete("from").await.unwrap();
    assert_eq!(on.read("into/to").await, "first");
}

/// See the name.
pub async fn copying_a_missing_object_says_so(on: Fixture) {
    let error = on.store.copy("no", "to").await.unwrap_err();
    assert!(matches!(error, ObjectError::NotFound { key } if key == "no"));
    assert_eq!(on.store.head("to").await.unwrap(), None);
}

/// See the name.
pub async fn a_deleted_object_is_gone(on: Fixture) {
    on.put("d/k", b"x").await;
    on.store.delete("d/k").await.unwrap();
    assert_eq!(on.store.head("d/k").await.unwrap(), None);
    assert!(on.keys("").await.is_empty());
}

/// See the name.
pub async fn deleting_what_is_not_there_succeeds(on: Fixture) {
    on.store.delete("never/was").await.unwrap();
}

/// See the name.
pub async fn keys_are_listed_in_order_with_sizes(on: Fixture) {
    for key in ["b/2", "a", "b/10", "b/c/d", "b.x", "c"] {
        on.put(key, b"12345").await;
    }
    on.put("b/1", b"").await;
    let listed = on.store.list("b").await.unwrap();
    let expected = [
        ("b.x", 5),
        ("b/1", 0),
        ("b/10", 5),
        ("b/2", 5),
        ("b/c/d", 5),
    ];
    assert_eq!(listed, expected.map(|(key, size)| (key.to_owned(), size)));
}

/// See the name.
pub async fn a_prefix_may_end_inside_a_name(on: Fixture) {
    for key in ["v/seg_00001.m4s", "v/seg_00002.m4s", "v/init.mp4", "v/s/x"] {
        on.put(key, b"x").await;
    }
    assert_eq!(
        on.keys("v/seg_").await,
        ["v/seg_00001.m4s", "v/seg_00002.m4s"]
    );
    assert_eq!(on.keys("v/s").await.len(), 3);
    assert_eq!(on.keys("v/").await.len(), 4);
    assert_eq!(on.keys("").await.len(), 4);
}

/// See the name.
pub async fn nothing_is_listed_for_an_unknown_prefix(on: Fixture) {
    on.put("a/b", b"x").await;
    assert!(on.keys("x/").await.is_empty());
    assert!(on.keys("a/b/").await.is_empty());
    assert!(on.keys("a/bc").await.is_empty());
}

/// See the name.
pub async fn directories_are_listed_once_each(on: Fixture) {
    for key in [
        "v/ab/g2/x",
        "v/ab/g10/y/z",
        "v/ab/g2/w",
        "v/ab/g",
        "v/ab/h1/x",
        "v/abc/g9/x",
        "g1/x",
    ] {
        on.put(key, b"x").await;
    }
    let below = async |prefix| on.store.list_directories(prefix).await.unwrap();
    assert_eq!(below("v/ab/g").await, ["v/ab/g10/", "v/ab/g2/"]);
    assert_eq!(below("v/ab/").await, ["v/ab/g10/", "v/ab/g2/", "v/ab/h1/"]);
    assert_eq!(below("v").await, ["v/"]);
    assert_eq!(below("").await, ["g1/", "v/"]);
    assert!(below("v/ab/g2/").await.is_empty());
    assert!(below("unknown/").await.is_empty());
}

/// See the name.
pub async fn bad_keys_are_refused_everywhere(on: Fixture) {
    let file = on.file("f", b"x");
    for key in ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a\0b"] {
        let refused = [
            on.store.head(key).await.err(),
            on.store.read_range(key, 0, 1).await.err(),
            on.store.stream(key, 0..1).await.err(),
            on.store.put_bytes(key, Bytes::new()).await.err(),
            on.store.put_new(key, Bytes::new()).await.err(),
            on.store.put_file(key, &file).await.err(),
            on.store.copy(key, "to").await.err(),
            on.store.copy("from", key).await.err(),
            on.store.delete(key).await.err(),
            on.store.local_path(key).err(),
            on.store.signed_url(key, Access::Read, MINUTE).await.err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(ObjectError::BadKey { .. })),
                "{key:?}: {error:?}"
            );
        }
    }
    assert!(file.exists());
}

/// See the name.
pub async fn keys_may_hold_spaces_and_letters_of_any_script(on: Fixture) {
    for key in ["a b/c d.mp4", "ü/日本.mp4", ".hidden", "%41", "a?b#c&d+e"] {
        on.put(key, b"x").await;
        assert_eq!(on.read(key).await, "x");
        assert_eq!(on.keys(key).await, [key]);
    }
}

/// See the name.
pub async fn concurrent_writes_leave_one_of_them_whole(on: Fixture) {
    const SIZE: usize = 300_000;
    let mut writes = tokio::task::JoinSet::new();
    for fill in 0..8_u8 {
        let store = Arc::clone(&on.store);
        writes.spawn(async move {
            let bytes = Bytes::from(vec![fill; SIZE]);
            store.put_bytes("same/key", bytes).await
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap().unwrap();
        let read = on.read("same/key").await;
        assert_eq!(read.len(), SIZE);
        assert!(read.iter().all(|byte| *byte == read[0]));
    }
    assert_eq!(on.keys("").await, ["same/key"]);
}

/// See the name.
pub async fn of_writers_of_a_new_object_one_is_told_that_it_was(on: Fixture) {
    let mut writes = tokio::task::JoinSet::new();
    for writer in 0..8_u8 {
        let store = Arc::clone(&on.store);
        writes.spawn(async move {
            let bytes = Bytes::from(vec![writer; 1000]);
            (writer, store.put_new("new/key", bytes).await.unwrap())
        });
    }
    let told = writes.join_all().await;
    let first: Vec<u8> = told
        .into_iter()
        .filter(|(_, new)| *new)
        .map(|(writer, _)| writer)
        .collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(on.read("new/key").await, vec![first[0]; 1000]);
    assert_eq!(on.keys("").await, ["new/key"]);
    on.store.delete("new/key").await.unwrap();
    assert!(on.store.put_new("new/key", Bytes::new()).await.unwrap());
}

/// See the name.
pub async fn a_local_path_holds_the_bytes(on: Fixture) {
    on.put("a/k", b"here").await;
    if let Some(path) = on.store.local_path("a/k").unwrap() {
        assert_eq!(std::fs::read(path).unwrap(), b"here");
    }
}
