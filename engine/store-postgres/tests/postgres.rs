//! The Postgres store: the suite of every store, and what only a server can get wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use telecine_engine::dispatch::{Bell, Dispatcher};
use telecine_engine::id::{RunId, SessionId};
use telecine_engine::store::{Life, Store, StoreError};
use telecine_engine::worker;
use telecine_store_postgres::{PostgresDispatcher, PostgresStore};
use telecine_testkit::conformance::dispatch::DispatcherFactory;
use telecine_testkit::conformance::store::StoreFactory;
use telecine_testkit::servers::{PostgresProxy, PostgresSchema};

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

/// How long it takes until somebody who hears nothing any more asks why, and listens anew.
const DEAF: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_hears_nothing_because_packets_vanish_listens_anew() {
    let schema = PostgresSchema::create().await;
    let proxy = PostgresProxy::start(schema.url());
    let here = PostgresDispatcher::start(proxy.url()).expect("an address");
    let there = PostgresDispatcher::start(schema.url()).expect("an address");
    let mut bell = here.listen();
    let heard = async |bell: &mut dyn Bell| {
        let ringing = async {
            loop {
                there.ring(&[]);
                let rung = tokio::time::timeout(Duration::from_millis(100), bell.rung());
                if rung.await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(DEAF, ringing).await.is_ok()
    };
    assert!(heard(bell.as_mut()).await, "it listens");
    // What was connected is dead from now on.
    proxy.silence();
    proxy.mend();
    let forget = async {
        while tokio::time::timeout(Duration::from_millis(300), bell.rung())
            .await
            .is_ok()
        {}
    };
    forget.await;
    assert!(heard(bell.as_mut()).await, "it listens anew");
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

/// It stands for an old server: the schema has a function that says so, and is looked into first.
#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let database = empty().await;
    let old =
        "create function current_setting(text) returns text language sql as $$ select '130011' $$";
    database.0.execute(old).await;
    let url = format!("{},pg_catalog", database.0.url());
    let error = PostgresStore::open(&url).await.unwrap_err();
    let said = "the server is Postgres 13; telecine needs 15 or newer";
    assert!(error.to_string().contains(said), "{error}");
    let tables = database
        .0
        .text("select count(*)::text from pg_tables where schemaname = current_schema()");
    assert_eq!(tables.await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_server_that_is_not_there_and_an_address_that_is_none_are_told_apart() {
    let nobody = PostgresStore::open("postgres://telecine@127.0.0.1:1/telecine").await;
    let error = nobody.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    let error = PostgresStore::open("mysql://here").await.unwrap_err();
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
}

/// Longer than these tests take.
const LEASE: Duration = Duration::from_secs(60);

/// A process with a session that was renewed.
async fn process(database: &Database) -> (Arc<dyn Store>, SessionId) {
    let (store, session) = (database.open().await, SessionId::generate());
    let opened = store.open_session(&session, "it", LEASE).await;
    opened.expect("a session");
    assert!(renew(store.as_ref(), &session).await);
    (store, session)
}

async fn renew(store: &dyn Store, session: &SessionId) -> bool {
    let renewed = store.renew_session(session, LEASE).await;
    renewed.expect("the database answers")
}

/// What one of two processes knows of the other.
async fn life(store: &dyn Store, mine: &SessionId) -> Life {
    let others = store.other_sessions(mine).await.expect("sessions");
    let [(_, life)] = others.as_slice() else {
        panic!("there are two: {others:?}");
    };
    *life
}

/// What it takes until a beat was missed, and a little longer.
const MISSED: Duration = worker::MISSED.saturating_add(Duration::from_millis(250));

/// Renews a session until the other one has missed a beat, and once after that.
async fn outlive(store: &dyn Store, mine: &SessionId) {
    let began = Instant::now();
    loop {
        let missed = began.elapsed() >= MISSED;
        assert!(renew(store, mine).await);
        if missed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_process_whose_connection_is_closed_is_gone_before_its_lease_is_over() {
    let database = empty().await;
    let (judge, mine) = process(&database).await;
    let (killed, theirs) = process(&database).await;
    drop(killed);
    let early = life(judge.as_ref(), &mine).await;
    assert!(matches!(early, Life::Leased(_)), "it may come back");
    outlive(judge.as_ref(), &mine).await;
    let told = tokio::time::timeout(Duration::from_secs(1), judge.suspicion());
    told.await.expect("renewing shows it");
    assert_eq!(life(judge.as_ref(), &mine).await, Life::Gone);
    let mut tx = judge.begin().await.unwrap();
    assert!(tx.session_is_dead(&theirs).await.unwrap());
}

#[tokio::test]
async fn a_process_that_stands_still_keeps_its_lease() {
    let database = empty().await;
    let (judge, mine) = process(&database).await;
    let (_standing, theirs) = process(&database).await;
    outlive(judge.as_ref(), &mine).await;
    let life = life(judge.as_ref(), &mine).await;
    assert!(matches!(life, Life::Leased(_)), "{life:?}");
    let mut tx = judge.begin().await.unwrap();
    assert!(!tx.session_is_dead(&theirs).await.unwrap());
}

#[tokio::test]
async fn a_server_that_closes_every_connection_proves_nobody_gone() {
    let database = empty().await;
    let (judge, mine) = process(&database).await;
    let (_other, _) = process(&database).await;
    let close = "select pg_terminate_backend(backend, 5000) from session";
    tokio::time::sleep(MISSED).await;
    database.0.execute(close).await;
    let unbeaten = life(judge.as_ref(), &mine).await;
    assert!(matches!(unbeaten, Life::Leased(_)), "{unbeaten:?}");
    // The connection that it was kept on is closed; the next try makes another.
    let _ = judge.renew_session(&mine, LEASE).await;
    outlive(judge.as_ref(), &mine).await;
    let life = life(judge.as_ref(), &mine).await;
    assert!(matches!(life, Life::Leased(_)), "{life:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_visitors_who_are_stuck_hold_up_nobody() {
    let database = empty().await;
    let store = PostgresStore::open(database.0.url()).await.unwrap();
    let visiting = Arc::new(store.for_visitors());
    let mut locking = PgConnection::connect(database.0.url()).await.unwrap();
    // What a visitor reads, and the engine does not.
    sqlx::raw_sql("begin; lock table plan in access exclusive mode")
        .execute(&mut locking)
        .await
        .unwrap();
    let mut visits = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let visiting = visiting.clone();
        visits.spawn(async move { visiting.load_plan(&RunId::generate()).await });
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(store.waiting(None, 10).await.unwrap(), []);
        drop(store.begin().await.unwrap());
    }
    assert!(visits.try_join_next().is_none(), "they were still at it");
    for visit in visits.join_all().await {
        let error = visit.expect_err("the table is locked");
        assert!(error.passes(), "{error}");
    }
}
