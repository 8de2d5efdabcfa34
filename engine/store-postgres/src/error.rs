//! What Postgres says, in the words of the port.

use telecine_engine::store::StoreError;

/// Why a statement, or the reading of its rows, failed.
#[derive(Debug)]
pub(crate) enum Error {
    Sql(sqlx::Error),
    Json(serde_json::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error,
            Error::Json(error) => Self::Corrupt(error.to_string()),
            Error::Sql(error) => by_meaning(&error),
        }
    }
}

fn by_meaning(error: &sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    if let Some(error) = error.as_database_error() {
        let code = error.code().unwrap_or_default();
        return by_code(&code, error.message().to_owned());
    }
    let message = error.to_string();
    match error {
        E::ColumnDecode { .. } | E::ColumnNotFound(_) | E::Decode(_) | E::RowNotFound => {
            StoreError::Corrupt(message)
        }
        E::PoolTimedOut => StoreError::Unreachable(
            "no connection became free in time: it is slow or away".to_owned(),
        ),
        E::Configuration(_) | E::InvalidArgument(_) => StoreError::Unavailable(message),
        // Of a connection that broke in the middle of something: a read, a greeting, a handshake.
        _ => StoreError::Unreachable(message),
    }
}

/// By SQLSTATE, of which the first two characters are the class.
fn by_code(code: &str, message: String) -> StoreError {
    match (code, code.get(..2).unwrap_or_default()) {
        // Serialisation failure, deadlock, lock timeout, statement timeout.
        ("40001" | "40P01" | "55P03" | "57014", _) => StoreError::Contended(message),
        ("53100", _) => StoreError::Full(message),
        // A statement was prepared before another process changed a table: another connection does not know it.
        ("0A000", _) => StoreError::Unreachable(message),
        // This one is not the primary, or no longer: another one is, or will be, at the same address.
        ("25006", _) => StoreError::Unreachable(message),
        // It is being stopped, started or restarted, or takes no more connections for now; or it has
        // ended a connection that was silent within a transaction.
        ("57P01" | "57P02" | "57P03" | "53300" | "25P03", _) | (_, "08") => {
            StoreError::Unreachable(message)
        }
        // No such database, wrong password, no right to.
        ("3D000" | "28P01" | "28000" | "42501", _) => StoreError::Incompatible(message),
        // A constraint, or data that a type does not take.
        (_, "22" | "23") => StoreError::Corrupt(message),
        _ => StoreError::Unavailable(message),
    }
}
