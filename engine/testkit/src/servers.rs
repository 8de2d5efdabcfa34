//! The servers that tests need. `./x test` starts them and says where they are; nothing here starts
//! or stops any.
#![expect(
    clippy::expect_used,
    reason = "a test cannot go on without its servers"
)]

mod postgres_counters;
mod postgres_proxy;
mod s3;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use telecine_engine::id::RunId;

pub use postgres_counters::PostgresCounters;
pub use postgres_proxy::PostgresProxy;
pub use s3::{S3_BUCKET, S3Place};

/// Where `./x test` says that Postgres is.
const POSTGRES: &str = "TELECINE_TEST_POSTGRES_URL";
/// And another one, which syncs and which one test at a time uses.
const QUIET_POSTGRES: &str = "TELECINE_TEST_QUIET_POSTGRES_URL";

/// An empty schema of the test database, dropped in the end.
#[derive(Debug)]
pub struct PostgresSchema {
    server: String,
    name: String,
    url: String,
}

impl PostgresSchema {
    /// Makes one.
    ///
    /// # Panics
    /// If there is no server.
    pub async fn create() -> Self {
        Self::create_on(server(POSTGRES)).await
    }

    /// Makes one on a server with default settings that nobody else uses, so that what it counts is what
    /// this test does.
    ///
    /// # Panics
    /// If there is no such server.
    pub async fn create_on_quiet_server() -> Self {
        Self::create_on(server(QUIET_POSTGRES)).await
    }

    async fn create_on(server: String) -> Self {
        // Unique, and sorts by time.
        let name = RunId::generate().as_str().replace(RunId::PREFIX, "test_");
        execute(&server, &format!("create schema {name}")).await;
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options[search_path]={name}");
        Self { server, name, url }
    }

    /// Address of the database, with the schema as the only one that is looked into.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Does something behind the store's back.
    ///
    /// # Panics
    /// If the statement fails.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }
}

impl PostgresSchema {
    /// The text that a query answers; `None` without a row, or while the server cannot be reached.
    pub async fn text(&self, sql: &str) -> Option<String> {
        let options: PgConnectOptions = self.url.parse().ok()?;
        let options = options.disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options).await.ok()?;
        let text = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        let text = text.fetch_one(&mut connection).await.ok();
        let _ = connection.close().await;
        text
    }
}

impl Drop for PostgresSchema {
    fn drop(&mut self) {
        let drop_it = format!("drop schema {} cascade", self.name);
        let server = self.server.clone();
        // A runtime of its own: the test's may be about to end.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(execute(&server, &drop_it));
        });
        // What it could not drop goes with the server.
        let _ = dropping.join();
    }
}

fn server(named: &str) -> String {
    std::env::var(named).unwrap_or_else(|_| {
        panic!("{named} is not set: run ./x test, which starts a throw-away server, or name one")
    })
}

async fn execute(url: &str, sql: &str) {
    let options: PgConnectOptions = url.parse().expect("an address of Postgres");
    let options = options.disable_statement_logging();
    let connection = PgConnection::connect_with(&options).await;
    let mut connection = connection.expect("the test server can be reached");
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .expect("the statement is good");
    let _ = connection.close().await;
}
