//! Sessions: a leased row each. Leases end by the server's clock.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use telecine_engine::id::SessionId;
use telecine_engine::store::{Life, Session};

use crate::error::Error;
use crate::rows::{Cells, clean, micros};

pub(crate) async fn open(
    db: &mut PgConnection,
    (id, name): (&SessionId, &str),
    lease: Duration,
) -> Result<(), Error> {
    sqlx::query(include_str!("sql/open_session.sql"))
        .bind(id.as_str())
        .bind(clean(name).as_ref())
        .bind(micros(lease))
        .execute(db)
        .await?;
    Ok(())
}

/// Answers whether the session was there.
pub(crate) async fn renew(
    db: &mut PgConnection,
    id: &SessionId,
    lease: Duration,
) -> Result<bool, Error> {
    let done = sqlx::query(include_str!("sql/renew_session.sql"))
        .bind(id.as_str())
        .bind(micros(lease))
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Sessions other than `except`, and how long the lease of each lasts.
pub(crate) async fn others(
    db: &mut PgConnection,
    except: &SessionId,
) -> Result<Vec<(Session, Life)>, Error> {
    let rows = sqlx::query(include_str!("sql/other_sessions.sql"))
        .bind(except.as_str())
        .fetch_all(db)
        .await?;
    let read = |row| {
        let row = Cells(row);
        let session = Session {
            id: row.text("id")?.into(),
            name: row.text("name")?,
            expires_at: row.time("expires_at")?,
        };
        let life = match row.number("left_us")? {
            0 => Life::Lapsed,
            left => Life::Leased(Duration::from_micros(left)),
        };
        Ok((session, life))
    };
    rows.iter().map(read).collect()
}

/// Whether a session is there and its lease is not over; keeps it there until the transaction ends.
pub(crate) async fn is_live(db: &mut PgConnection, id: &SessionId) -> Result<bool, Error> {
    let live: Option<bool> = sqlx::query_scalar(include_str!("sql/session_is_live.sql"))
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    Ok(live.unwrap_or(false))
}

/// Whether a session is there and its lease is over.
pub(crate) async fn is_dead(db: &mut PgConnection, id: &SessionId) -> Result<bool, Error> {
    let dead = "select expires_at <= clock_timestamp() from session where id = $1 for update";
    let dead: Option<bool> = sqlx::query_scalar(dead)
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    Ok(dead.unwrap_or(false))
}
