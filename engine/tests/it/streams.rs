//! The same commands on the database in memory, on SQLite and on Postgres: what the simulation finds in
//! the one is true of the others. `TELECINE_STREAMS` runs more of them; `TELECINE_SEED` runs one again.

use std::sync::Arc;

use telecine_engine::store::Store;
use telecine_store_postgres::PostgresStore;
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::memory::MemoryStore;
use telecine_testkit::servers::PostgresSchema;
use telecine_testkit::sim::stream;

/// Streams in a usual test run.
const STREAMS: u64 = 3;
/// Commands of each: rounds, backoffs and several sessions come up in most.
const DEEDS: usize = 100;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok();
    text.map(|text| text.parse().expect("a number"))
}

#[tokio::test]
async fn every_store_answers_and_keeps_the_same_after_every_command() {
    let seeds = match number("TELECINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECINE_STREAMS").unwrap_or(STREAMS),
    };
    for seed in seeds {
        let directory = tempfile::tempdir().expect("a directory");
        let schema = PostgresSchema::create().await;
        let sqlite = SqliteStore::open(directory.path()).await;
        let postgres = PostgresStore::open(schema.url()).await;
        let stores: Vec<(_, Arc<dyn Store>)> = vec![
            ("memory", Arc::new(MemoryStore::default())),
            ("SQLite", Arc::new(sqlite.expect("a database"))),
            ("Postgres", Arc::new(postgres.expect("a schema"))),
        ];
        let compared = stream::compare(seed, DEEDS, stores).await;
        compared.unwrap_or_else(|why| panic!("TELECINE_SEED={seed}: {why}"));
    }
}
