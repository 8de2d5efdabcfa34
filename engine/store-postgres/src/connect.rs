//! Connections, by what they are for.

use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use telecine_engine::store::StoreError;

/// What an address of Postgres begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// How long a caller waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long a statement of a visitor may take, and how long one waits for a connection. Pages are read in
/// some 20 ms.
const VISIT: Duration = Duration::from_secs(5);
/// Statements of the hot path that a connection keeps prepared.
const STATEMENTS: usize = 200;

/// Settings of connections that write: plans that do not depend on what the statistics say at the
/// moment. A generic plan that is made while its tables are empty scans them, and is kept when they
/// are full.
const PINNED: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Settings of all. A process that is stopped in the middle of a transaction must not hold its locks
/// for longer than its lease; a lock that is not to be had in time is tried again.
const COMMON: [(&str, &str); 3] = [
    ("idle_in_transaction_session_timeout", "7500"),
    ("lock_timeout", "10000"),
    ("timezone", "UTC"),
];

/// What an address says.
///
/// # Errors
/// [`StoreError::Incompatible`] if it is none.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = match PgConnectOptions::from_str(url) {
        Ok(options) if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => options,
        Ok(_) => {
            let why = "its address does not begin with postgres://";
            return Err(StoreError::Incompatible(why.to_owned()));
        }
        Err(error) => {
            let why = format!("its address cannot be read: {error}");
            return Err(StoreError::Incompatible(why));
        }
    };
    Ok(options
        .application_name("telecine")
        .statement_cache_capacity(STATEMENTS)
        .options(COMMON)
        .disable_statement_logging())
}

/// The same for connections that write.
pub(crate) fn pinned(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options(PINNED)
}

/// Connections that read for visitors: none is held up by them for longer than a visit.
pub(crate) fn visitors(connections: u32, options: PgConnectOptions) -> PgPool {
    let millis = VISIT.as_millis().to_string();
    let options = options.options([("statement_timeout", millis)]);
    opened_lazily(connections, VISIT).connect_lazy_with(options)
}

/// Connections are opened when they are first needed, and stay: each keeps its prepared statements.
pub(crate) fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    opened_lazily(connections, ACQUIRE).connect_lazy_with(options)
}

fn opened_lazily(connections: u32, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|_, connection| Box::pin(async move { Ok(is_trusted(connection.age)) }))
}

/// When a server was last found to take no writes.
static DISTRUSTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Lets pools give up every connection that they have now. A server takes no writes when it is not the
/// primary, or no longer; a connection to it would stay good, and would be given to one caller after the
/// other. Whichever it was: there are ten of them, and new ones are cheap.
pub(crate) fn distrust() {
    *DISTRUSTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection of that age was opened after the last such moment.
fn is_trusted(age: Duration) -> bool {
    let distrusted = *DISTRUSTED.lock().unwrap_or_else(PoisonError::into_inner);
    distrusted.is_none_or(|at| age < at.elapsed())
}

#[cfg(test)]
mod tests {
    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn a_connection_that_takes_no_writes_is_reported_as_away_and_never_used_again() {
        let place = PostgresSchema::create().await;
        let pool = pool(1, options(place.url()).unwrap());
        let run = async |sql: &'static str| {
            let done = sqlx::raw_sql(sql).execute(&pool).await;
            done.map(drop)
                .map_err(|error| StoreError::from(Error::from(error)))
        };
        run("set default_transaction_read_only = on").await.unwrap();
        let refused = run("create table t (x int)").await.unwrap_err();
        assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
        run("create table t (x int)").await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_took_too_long_is_tried_again() {
        let place = PostgresSchema::create().await;
        let options = options(place.url()).unwrap();
        let pool = pool(1, options.options([("statement_timeout", "20")]));
        let late = sqlx::raw_sql("select pg_sleep(60)").execute(&pool).await;
        let late = StoreError::from(Error::from(late.unwrap_err()));
        assert!(matches!(late, StoreError::Contended(_)), "{late}");
    }
}
