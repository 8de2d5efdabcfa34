//! Connections, by what they are for.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use telecine_engine::store::StoreError;

/// What an address of Postgres begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
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
/// for longer than its lease; a lock that is not to be had in time is tried again; nothing is worked on
/// that nobody waits for any more, see [`pool`](crate::pool). The server asks those who are silent
/// whether they are there, so that clients which are gone without a word keep no connection.
const COMMON: [(&str, &str); 8] = [
    ("idle_in_transaction_session_timeout", "7500"),
    ("lock_timeout", "10000"),
    ("statement_timeout", "60000"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
    ("timezone", "UTC"),
];

/// How long a statement of a visitor may take, and how long one waits for a connection. Pages are read in
/// some 20 ms.
pub(crate) const VISIT: Duration = Duration::from_secs(5);

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

/// The same for connections whose statements are transactions of their own: less than [`QUICK`](crate::pool::QUICK).
pub(crate) fn at_once(options: &PgConnectOptions) -> PgConnectOptions {
    pinned(options).options([("statement_timeout", "12000")])
}

/// The same for connections that read for visitors: none is held up by them for longer than a visit.
pub(crate) fn visiting(options: &PgConnectOptions) -> PgConnectOptions {
    let millis = VISIT.as_millis().to_string();
    options.clone().options([("statement_timeout", millis)])
}
