//! The SQLite store: the suite of every store, and what only a database in a file can get wrong.

use std::sync::Arc;

use telecine_engine::store::Store;
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::conformance::store::StoreFactory;

mod conformance {
    telecine_testkit::store_conformance!(crate::empty());
}

/// A data directory that goes when the case is over.
#[derive(Debug)]
struct DataDirectory(tempfile::TempDir);

async fn empty() -> DataDirectory {
    DataDirectory(tempfile::tempdir().expect("a directory"))
}

#[async_trait::async_trait]
impl StoreFactory for DataDirectory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(
            SqliteStore::open(self.0.path())
                .await
                .expect("the store opens"),
        )
    }
}
