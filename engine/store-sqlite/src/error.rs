//! What SQLite says, in the words of the port.

use telecine_engine::store::StoreError;

/// The database or the disk is full.
const SQLITE_FULL: i32 = 13;
/// The index of the write-ahead log could not grow.
const SQLITE_IOERR_SHMSIZE: i32 = 4874;
/// The file is no database.
const SQLITE_NOTADB: i32 = 26;
/// Extended codes say in their low byte what they are a kind of.
const PRIMARY: i32 = 0xff;
/// The file is damaged.
const SQLITE_CORRUPT: i32 = 11;
/// A constraint of the schema refused the change.
const SQLITE_CONSTRAINT: i32 = 19;

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
    let message = error.to_string();
    match code(error) {
        Some(SQLITE_FULL | SQLITE_IOERR_SHMSIZE) => {
            StoreError::Full("the disk or its quota is full".to_owned())
        }
        Some(SQLITE_NOTADB) => StoreError::Incompatible("it is not an SQLite database".to_owned()),
        Some(code) if [SQLITE_CORRUPT, SQLITE_CONSTRAINT].contains(&(code & PRIMARY)) => {
            StoreError::Corrupt(message)
        }
        _ if is_unreadable(error) => StoreError::Corrupt(message),
        _ => StoreError::Unavailable(message),
    }
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether a row was there but not what it should be.
fn is_unreadable(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    matches!(
        error,
        E::ColumnDecode { .. } | E::ColumnNotFound(_) | E::Decode(_) | E::RowNotFound
    )
}
