//! Sessions: a leased row each. Leases end by the server's clock; a process that is killed closes its
//! connections, which proves its end sooner.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use telecine_engine::id::SessionId;
use telecine_engine::store::{Life, Session};
use telecine_engine::worker::MISSED;

use crate::error::Error;
use crate::rows::{cells, clean, micros};

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

/// Answers whether somebody else seems to be gone; nothing if the session was ended.
pub(crate) async fn renew(
    db: &mut PgConnection,
    id: &SessionId,
    lease: Duration,
) -> Result<Option<bool>, Error> {
    let renewing = sqlx::query_scalar(include_str!("sql/renew_session.sql"))
        .bind(id.as_str())
        .bind(micros(lease))
        .bind(micros(MISSED));
    Ok(renewing.fetch_optional(db).await?)
}

/// Sessions other than `except`, which is the one that asks, and what is known of each.
pub(crate) async fn others(
    db: &mut PgConnection,
    except: &SessionId,
) -> Result<Vec<(Session, Life)>, Error> {
    let rows = sqlx::query(include_str!("sql/other_sessions.sql"))
        .bind(except.as_str())
        .bind(micros(MISSED))
        .fetch_all(db)
        .await?;
    let read = |row| {
        let row = cells(row);
        let session = Session {
            id: row.text("id")?.into(),
            name: row.text("name")?,
            expires_at: row.time("expires_at")?,
        };
        let life = match (row.0.flag("gone")?, row.number("left_us")?) {
            (true, _) => Life::Gone,
            (false, 0) => Life::Lapsed,
            (false, left) => Life::Leased(Duration::from_micros(left)),
        };
        Ok((session, life))
    };
    rows.iter().map(read).collect()
}

/// Whether a session is there and its lease is not over; keeps it there until the transaction ends.
pub(crate) async fn is_live(db: &mut PgConnection, id: &SessionId) -> Result<bool, Error> {
    let live = sqlx::query(include_str!("sql/live_sessions.sql"))
        .bind(vec![id.as_str()])
        .fetch_optional(db)
        .await?;
    Ok(live.is_some())
}

/// Whether a session is there and its lease is over, or its process has gone.
pub(crate) async fn is_dead(db: &mut PgConnection, id: &SessionId) -> Result<bool, Error> {
    let dead: Option<bool> = sqlx::query_scalar(include_str!("sql/session_is_dead.sql"))
        .bind(id.as_str())
        .bind(micros(MISSED))
        .fetch_optional(db)
        .await?;
    Ok(dead.unwrap_or(false))
}
