//! What SQLite says, in the words of the port.

use std::path::Path;

use telecine_engine::store::StoreError;

/// The file system does not let the process write.
const SQLITE_READONLY: i32 = 8;
/// The file cannot be opened.
const SQLITE_CANTOPEN: i32 = 14;
/// Another process has held the write lock for too long.
const SQLITE_BUSY: i32 = 5;
/// The statement was ended because it took too long.
const SQLITE_INTERRUPT: i32 = 9;
/// The disk cannot be read or written.
const SQLITE_IOERR: i32 = 10;
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
    let Some(code) = code(error) else {
        return without_code(error, message);
    };
    match code & PRIMARY {
        _ if code == SQLITE_IOERR_SHMSIZE => full(),
        SQLITE_FULL => full(),
        SQLITE_NOTADB => StoreError::Incompatible("it is not an SQLite database".to_owned()),
        SQLITE_CORRUPT => StoreError::Corrupt(format!(
            "its file is damaged ({message}): put a copy of the data directory back, or name another \
             one with --data-dir; what was published is not touched by this"
        )),
        SQLITE_CONSTRAINT => StoreError::Corrupt(message),
        SQLITE_READONLY => StoreError::Unavailable(
            "its file cannot be written: check the permissions of the data directory".to_owned(),
        ),
        SQLITE_CANTOPEN => StoreError::Unavailable(
            "its file cannot be opened: check the permissions of the data directory".to_owned(),
        ),
        SQLITE_BUSY => StoreError::Unavailable(
            "another process has kept it locked for too long; try again".to_owned(),
        ),
        SQLITE_INTERRUPT => StoreError::Contended("it took too long".to_owned()),
        SQLITE_IOERR => StoreError::Unavailable(format!(
            "the disk could not be read or written, or a quota is used up: {message}"
        )),
        _ => StoreError::Unavailable(message),
    }
}

fn full() -> StoreError {
    StoreError::Full("the disk or its quota is full".to_owned())
}

/// Says where the database is that cannot grow.
pub(crate) fn in_directory(error: StoreError, directory: &Path) -> StoreError {
    match error {
        StoreError::Full(_) => {
            StoreError::Full(format!("there is no room left in {}", directory.display()))
        }
        other => other,
    }
}

fn without_code(error: &sqlx::Error, message: String) -> StoreError {
    use sqlx::Error as E;
    match error {
        E::ColumnDecode { .. } | E::ColumnNotFound(_) | E::Decode(_) | E::RowNotFound => {
            StoreError::Corrupt(message)
        }
        E::PoolTimedOut => StoreError::Unavailable(
            "another transaction of this process has taken too long; try again".to_owned(),
        ),
        _ => StoreError::Unavailable(message),
    }
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
