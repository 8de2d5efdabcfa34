//! The feed of all events.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use telecine_engine::store::{FeedEvent, FeedPlace};

use crate::error::Error;
use crate::rows::{cells, count};

/// Events behind a place.
pub(crate) async fn read(
    db: &mut SqliteConnection,
    after: FeedPlace,
    limit: usize,
) -> Result<Vec<FeedEvent>, Error> {
    let rows = sqlx::query(include_str!("sql/feed.sql"))
        .bind(count(after.entry))
        .bind(count(after.seq))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(event).collect()
}

fn event(row: &SqliteRow) -> Result<FeedEvent, Error> {
    let row = cells(row);
    let recorded = row.event()?;
    Ok(FeedEvent {
        place: FeedPlace {
            entry: row.number("n")?,
            seq: recorded.seq,
            ..FeedPlace::default()
        },
        run: row.run_id()?,
        recorded,
    })
}

/// The place behind all of them.
pub(crate) async fn end(db: &mut SqliteConnection) -> Result<FeedPlace, Error> {
    let last: i64 = sqlx::query_scalar(include_str!("sql/feed_end.sql"))
        .fetch_one(db)
        .await?;
    Ok(FeedPlace {
        entry: u64::try_from(last).unwrap_or_default(),
        seq: u64::MAX,
        ..FeedPlace::default()
    })
}
