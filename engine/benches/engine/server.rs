//! The Postgres under test: a database for each subject, and what the server counts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use telecine_testkit::servers::PostgresCounters;

use crate::process;

/// A server that this benchmark may fill.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: String,
    pid: u32,
}

impl Server {
    /// The one that `./x bench engine` has started.
    pub(crate) async fn named() -> Option<Self> {
        let url = std::env::var("TELECINE_BENCH_POSTGRES_URL").ok()?;
        let file = one(&url, "select pg_read_file('postmaster.pid')").await;
        let file: String = file.unwrap().get(0);
        let pid = file.lines().next().unwrap().trim().parse().unwrap();
        Some(Self { url, pid })
    }

    /// Its version, and whether a commit waits for the disk.
    pub(crate) async fn describe(&self) -> String {
        let sql = "select format('Postgres %s, fsync %s, synchronous_commit %s', \
                   current_setting('server_version_num')::int / 10000, \
                   current_setting('fsync'), current_setting('synchronous_commit'))";
        one(&self.url, sql).await.unwrap().get(0)
    }

    /// A new, empty database. What others have left in the caches of the server is written first, so that
    /// no checkpoint of theirs falls into the measurement.
    pub(crate) async fn database(&self) -> Database {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "bench_{}_{}",
            std::process::id(),
            LAST.fetch_add(1, Ordering::Relaxed)
        );
        one(&self.url, &format!("create database {name}")).await;
        one(&self.url, "checkpoint").await;
        let (place, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (authority, _) = place.rsplit_once('/').unwrap();
        Database {
            url: format!("{authority}/{name}?{query}"),
            name,
            server: self.clone(),
        }
    }

    pub(crate) async fn counters(&self) -> PostgresCounters {
        PostgresCounters::read(&self.url).await
    }

    /// CPU time of the server.
    pub(crate) fn cpu(&self) -> Duration {
        process::cpu_of_tree(self.pid)
    }
}

/// A database of the server.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    pub(crate) server: Server,
}

impl Database {
    /// Removes it, with whoever is still connected.
    pub(crate) async fn drop(self) {
        let drop_it = format!("drop database {} with (force)", self.name);
        one(&self.server.url, &drop_it).await;
    }
}

async fn one(url: &str, sql: &str) -> Option<PgRow> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    let row = sqlx::query(sql).fetch_optional(&mut connection).await;
    let _ = connection.close().await;
    row.unwrap()
}
