//! Sessions: a leased row and a file lock each.

use std::io::{self, ErrorKind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::SessionId;
use telecine_engine::store::{Life, Session, StoreError};

use crate::error::Error;
use crate::locks::SessionLocks;
use crate::rows::cells;
use crate::save::Writing;
use crate::{clock, schema};

/// Takes the lock of a new session.
pub(crate) fn lock(
    locks: &SessionLocks,
    session: &SessionId,
    lease: Duration,
) -> Result<(), StoreError> {
    let until = clock::later(clock::now(), lease);
    locks
        .take(session, until)
        .map_err(|error| unusable(session, &error))
}

/// Renews a lease in its lock file; `false` if the others would not see that.
pub(crate) fn renew(
    locks: &SessionLocks,
    session: &SessionId,
    lease: Duration,
) -> Result<bool, StoreError> {
    let until = clock::later(clock::now(), lease);
    locks
        .renew(session, until)
        .map_err(|error| unusable(session, &error))
}

fn unusable(session: &SessionId, error: &io::Error) -> StoreError {
    let message = format!("cannot write the lock file of {session}: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(message),
        _ => StoreError::Unavailable(message),
    }
}

/// Whether a session has a row.
pub(crate) async fn is_there(db: &mut SqliteConnection, id: &SessionId) -> Result<bool, Error> {
    let row = sqlx::query("select 1 from session where id = $1")
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// When the lease of a session ends that has a row. It is renewed in the file; where that is gone,
/// in the row.
pub(crate) async fn ends(
    db: &mut SqliteConnection,
    locks: &SessionLocks,
    id: &SessionId,
) -> Result<Option<DateTime<Utc>>, Error> {
    let row = sqlx::query("select expires_at from session where id = $1")
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let renewed = locks.until(id).unwrap_or_default();
    Ok(Some(cells(&row).time("expires_at")?.max(renewed)))
}

impl Writing<'_> {
    pub(crate) async fn open_session(
        &mut self,
        (id, name): (&SessionId, &str),
        lease: Duration,
    ) -> Result<(), Error> {
        sqlx::query(
            "insert into session (id, name, opened_at, expires_at) values ($1, $2, $3, $4)",
        )
        .bind(id.as_str())
        .bind(name)
        .bind(self.now.timestamp_millis())
        .bind(clock::later(self.now, lease).timestamp_millis())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Answers whether the session was there.
    pub(crate) async fn renew_session(
        &mut self,
        id: &SessionId,
        lease: Duration,
    ) -> Result<bool, Error> {
        let done = sqlx::query("update session set expires_at = $2 where id = $1")
            .bind(id.as_str())
            .bind(clock::later(self.now, lease).timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What an older release made ready and leaves behind is for the others now.
    pub(crate) async fn end_session(&mut self, id: &SessionId) -> Result<bool, Error> {
        schema::give_tickets(self.connection).await?;
        let deleted = sqlx::query("delete from session where id = $1")
            .bind(id.as_str())
            .execute(&mut *self.connection)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

/// Sessions other than `except`, and what is known of each.
pub(crate) async fn others(
    db: &mut SqliteConnection,
    locks: &SessionLocks,
    except: &SessionId,
) -> Result<Vec<(Session, Life)>, Error> {
    let rows = sqlx::query(include_str!("sql/other_sessions.sql"))
        .bind(except.as_str())
        .fetch_all(db)
        .await?;
    let now = clock::now();
    let judge = |row| {
        let row = cells(row);
        let id: SessionId = row.text("id")?.into();
        // A lease is renewed in the file; where that is gone, in the row.
        let renewed = locks.until(&id);
        let session = Session {
            name: row.text("name")?,
            expires_at: row.time("expires_at")?.max(renewed.unwrap_or_default()),
            id,
        };
        let life = match (session.expires_at - now).to_std() {
            _ if locks.owner_is_gone(&session.id) => Life::Gone,
            Ok(left) if !left.is_zero() => Life::Leased(left),
            _ => Life::Lapsed,
        };
        Ok((session, life))
    };
    rows.iter().map(judge).collect()
}
