//! The store in a directory.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use bytes::Bytes;
use telecine_engine::objects::{ObjectError, ObjectStore as _, ObjectStores as _};
use telecine_object_stores::{FsStore, FsStores, Stores};
use telecine_testkit::conformance::objects::Fixture;

mod conformance {
    telecine_testkit::object_store_conformance!(super::fixture());
}

async fn fixture() -> Fixture {
    let home = tempfile::tempdir().expect("a directory");
    let store = FsStore::new(home.path().join("made/by the first write"));
    Fixture::new(Arc::new(store), Some(home))
}

#[tokio::test]
async fn a_store_opened_by_address_is_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a%20b", home.path().display());
    let store = FsStores.open(&url).unwrap();
    store
        .put_bytes("k", Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(home.path().join("a b/k")).unwrap(), b"x");
}

#[tokio::test]
async fn a_store_of_sources_refuses_every_write() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("k"), b"x").unwrap();
    let url = format!("file://{}", home.path().display());
    let store = Stores::default().open_source(&url).unwrap();
    let refused = [
        store.put_bytes("k", Bytes::new()).await.err(),
        store.put_new("n", Bytes::new()).await.err(),
        store.put_file("k", &home.path().join("k")).await.err(),
        store.copy("k", "n").await.err(),
        store.delete("k").await.err(),
    ];
    for error in refused {
        assert!(
            matches!(error, Some(ObjectError::ReadOnly { .. })),
            "{error:?}"
        );
    }
    assert_eq!(store.read_range("k", 0, 9).await.unwrap(), "x");
    assert_eq!(store.list("").await.unwrap(), [("k".to_owned(), 1)]);
}

#[tokio::test]
async fn opening_and_reading_makes_no_directory() {
    let home = tempfile::tempdir().unwrap();
    let store = FsStore::new(home.path().join("sources"));
    assert_eq!(store.head("a.mp4").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    store.delete("a.mp4").await.unwrap();
    assert!(!home.path().join("sources").exists());
}

#[tokio::test]
async fn a_link_out_of_the_store_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (inside, outside) = (home.path().join("in"), home.path().join("out"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    symlink(&outside, inside.join("dir")).unwrap();
    let store = FsStore::new(&inside);
    for key in ["file", "dir/secret"] {
        let refused = [
            store.head(key).await.err(),
            store.read_range(key, 0, 9).await.err(),
            store.local_path(key).err(),
            store.copy(key, "copy").await.err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(ObjectError::BadKey { .. })),
                "{key}: {error:?}"
            );
        }
    }
    for key in ["dir/new", "dir/deeper/new"] {
        let error = store.put_bytes(key, Bytes::new()).await.unwrap_err();
        assert!(
            matches!(error, ObjectError::BadKey { .. }),
            "{key}: {error:?}"
        );
    }
    assert!(store.delete("dir/secret").await.is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_link_inside_the_store_is_followed() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.mp4"), "film").unwrap();
    symlink("a.mp4", home.path().join("latest.mp4")).unwrap();
    let store = FsStore::new(home.path());
    assert_eq!(store.read_range("latest.mp4", 0, 9).await.unwrap(), "film");
    store.delete("latest.mp4").await.unwrap();
    assert!(home.path().join("a.mp4").exists());
}

#[tokio::test]
async fn writing_over_a_link_leaves_what_it_pointed_to() {
    let home = tempfile::tempdir().unwrap();
    let (inside, outside) = (home.path().join("in"), home.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(&outside, "before").unwrap();
    symlink(&outside, inside.join("k")).unwrap();
    let store = FsStore::new(&inside);
    store
        .put_bytes("k", Bytes::from_static(b"mine"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), b"before");
    assert_eq!(store.read_range("k", 0, 9).await.unwrap(), "mine");
}

#[tokio::test]
async fn unfinished_writes_are_neither_objects_nor_listed() {
    let home = tempfile::tempdir().unwrap();
    let store = FsStore::new(home.path());
    store
        .put_bytes("k", Bytes::from_static(b"x"))
        .await
        .unwrap();
    std::fs::write(home.path().join(".telecine-partial/left"), "half").unwrap();
    assert_eq!(store.list("").await.unwrap(), [("k".to_owned(), 1)]);
    assert!(store.head(".telecine-partial/left").await.is_err());
}

#[tokio::test]
async fn a_moved_file_keeps_its_inode_on_one_file_system() {
    use std::os::unix::fs::MetadataExt as _;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("segment");
    std::fs::write(&file, "media").unwrap();
    let inode = file.metadata().unwrap().ino();
    let store = FsStore::new(home.path().join("media"));
    store.put_file("v/segment", &file).await.unwrap();
    let stored = home.path().join("media/v/segment").metadata().unwrap();
    assert_eq!(stored.ino(), inode);
}

#[tokio::test]
async fn a_file_of_another_file_system_is_copied_and_removed() {
    // Linux has a memory file system at /dev/shm; where there is none the move is a rename.
    let shared_memory = std::path::Path::new("/dev/shm");
    let scratch = if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let home = tempfile::tempdir().unwrap();
    let file = scratch.path().join("segment");
    std::fs::write(&file, "media").unwrap();
    let store = FsStore::new(home.path());
    store.put_file("segment", &file).await.unwrap();
    assert_eq!(store.read_range("segment", 0, 9).await.unwrap(), "media");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_name_that_the_file_system_cannot_hold_is_a_bad_key() {
    let home = tempfile::tempdir().unwrap();
    let store = FsStore::new(home.path());
    let key = "x".repeat(300);
    let error = store.put_bytes(&key, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, ObjectError::BadKey { .. }), "{error:?}");
}

#[tokio::test]
async fn what_killed_processes_left_is_removed_after_a_day() {
    let home = tempfile::tempdir().unwrap();
    let partial = home.path().join(".telecine-partial");
    std::fs::create_dir(&partial).unwrap();
    let write = |name: &str, hours: u64| {
        let file = std::fs::File::create(partial.join(name)).unwrap();
        let age = std::time::Duration::from_secs(hours * 3600);
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
    };
    write("fresh", 1);
    write("stale", 25);
    FsStores
        .open(&format!("file://{}", home.path().display()))
        .unwrap();
    assert!(partial.join("fresh").exists());
    assert!(!partial.join("stale").exists());
}
