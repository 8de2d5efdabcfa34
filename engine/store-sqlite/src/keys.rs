//! Names that callers choose for requests.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::RunId;
use telecine_engine::store::{RequestKey, TakenKey};

use crate::error::Error;

/// A run and the digest of its request.
type Row = (String, String);

pub(crate) async fn take(
    db: &mut SqliteConnection,
    (key, run): (&RequestKey, &RunId),
    now: DateTime<Utc>,
) -> Result<TakenKey, Error> {
    let row: Row = sqlx::query_as(include_str!("sql/take_key.sql"))
        .bind(&key.key)
        .bind(&key.digest)
        .bind(run.as_str())
        .bind(now.timestamp_millis())
        .fetch_one(db)
        .await?;
    Ok(row.into())
}

pub(crate) async fn give(
    db: &mut SqliteConnection,
    key: &RequestKey,
    run: &RunId,
) -> Result<(), Error> {
    sqlx::query(include_str!("sql/give_key.sql"))
        .bind(&key.key)
        .bind(run.as_str())
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn find(db: &mut SqliteConnection, key: &str) -> Result<Option<TakenKey>, Error> {
    let row: Option<Row> = sqlx::query_as(include_str!("sql/find_key.sql"))
        .bind(key)
        .fetch_optional(db)
        .await?;
    Ok(row.map(TakenKey::from))
}
