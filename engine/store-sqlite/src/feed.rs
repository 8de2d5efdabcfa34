//! The feed of all events.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use telecine_engine::store::rows::first_of;
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
    first_of(limit, rows.iter().map(events), |event| event.place > after)
}

fn events(row: &SqliteRow) -> Result<Vec<FeedEvent>, Error> {
    let row = cells(row);
    let run = row.run_id()?;
    let entry = FeedPlace {
        entry: row.number("n")?,
        ..FeedPlace::default()
    };
    let events = row.events()?.into_iter();
    Ok(events
        .map(|event| FeedEvent::of(entry, &run, event))
        .collect())
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
