//! Connections, by what they are for.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use telecine_engine::store::StoreError;

/// What an address of Postgres begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// How long a caller waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);
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

/// Connections are opened when they are first needed, and stay: each keeps its prepared statements.
pub(crate) fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}
