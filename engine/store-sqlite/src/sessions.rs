//! Sessions: a leased row and a file lock each.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::SessionId;
use telecine_engine::store::{Session, StoreError};

use crate::clock;
use crate::error::Error;
use crate::locks::SessionLocks;
use crate::rows::Cells;
use crate::save::Writing;

/// Takes the lock of a new session.
pub(crate) fn lock(locks: &SessionLocks, session: &SessionId) -> Result<(), StoreError> {
    locks.take(session).map_err(|error| {
        StoreError::Unavailable(format!("cannot make the lock file of {session}: {error}"))
    })
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

    pub(crate) async fn end_session(&mut self, id: &SessionId) -> Result<(), Error> {
        sqlx::query("delete from session where id = $1")
            .bind(id.as_str())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// Sessions other than `except`, and whether each is dead.
pub(crate) async fn others(
    db: &mut SqliteConnection,
    locks: &SessionLocks,
    except: &SessionId,
) -> Result<Vec<(Session, bool)>, Error> {
    let rows = sqlx::query(include_str!("sql/other_sessions.sql"))
        .bind(except.as_str())
        .fetch_all(db)
        .await?;
    let now = clock::now();
    let judge = |row| {
        let row = Cells(row);
        let session = Session {
            id: row.text("id")?.into(),
            name: row.text("name")?,
            expires_at: row.time("expires_at")?,
        };
        let dead = session.expires_at <= now || locks.owner_is_gone(&session.id);
        Ok((session, dead))
    };
    rows.iter().map(judge).collect()
}
