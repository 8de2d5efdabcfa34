//! The Postgres store: the suite of every store, and what only a server can get wrong.

use std::sync::Arc;

use telecine_engine::dispatch::Dispatcher;
use telecine_engine::store::{Store, StoreError};
use telecine_store_postgres::{PostgresDispatcher, PostgresStore};
use telecine_testkit::conformance::dispatch::DispatcherFactory;
use telecine_testkit::conformance::store::StoreFactory;
use telecine_testkit::servers::PostgresSchema;

mod conformance {
    telecine_testkit::store_conformance!(crate::empty());
}

/// A schema that goes when the case is over.
#[derive(Debug)]
struct Database(PostgresSchema);

async fn empty() -> Database {
    Database(PostgresSchema::create().await)
}

#[async_trait::async_trait]
impl StoreFactory for Database {
    async fn open(&self) -> Arc<dyn Store> {
        let opened = PostgresStore::open(self.0.url()).await;
        Arc::new(opened.expect("the store opens"))
    }
}

/// The doorbells of processes on the test server: its notifications know no schemas.
#[derive(Debug)]
struct Doorbells(PostgresSchema);

async fn doorbells() -> Doorbells {
    Doorbells(PostgresSchema::create().await)
}

#[async_trait::async_trait]
impl DispatcherFactory for Doorbells {
    async fn open(&self) -> Arc<dyn Dispatcher> {
        Arc::new(PostgresDispatcher::start(self.0.url()).expect("an address"))
    }

    fn reaches_others(&self) -> bool {
        true
    }
}

mod doorbell {
    telecine_testkit::dispatcher_conformance!(crate::doorbells().await);
}

#[tokio::test]
async fn many_processes_that_start_at_once_make_one_schema() {
    let database = empty().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = database.0.url().to_owned();
        starts.spawn(async move { PostgresStore::open(&url).await.map(drop) });
    }
    for started in starts.join_all().await {
        started.expect("the store opens");
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let database = empty().await;
    drop(database.open().await);
    let newer = "insert into _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 values (9999, 'from the future', true, '\\x00', 0)";
    database.0.execute(newer).await;
    let error = PostgresStore::open(database.0.url()).await.unwrap_err();
    let newer = matches!(&error, StoreError::Incompatible(why) if why.contains("newer version"));
    assert!(newer, "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_and_an_address_that_is_none_are_told_apart() {
    let nobody = PostgresStore::open("postgres://telecine@127.0.0.1:1/telecine").await;
    let error = nobody.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    let error = PostgresStore::open("mysql://here").await.unwrap_err();
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
}
