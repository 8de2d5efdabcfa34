//! What is forgotten of runs that nobody asks for any more.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::RunId;
use telecine_engine::store::Generation;

use crate::clock;
use crate::error::Error;
use crate::rows::{cells, count};
use crate::save::Writing;

/// By how much the clocks of processes may differ that make ids.
const CLOCKS: TimeDelta = TimeDelta::days(1);

/// Everything that is known of a run, what refers to other rows first. What belongs to a step goes with it. The feed
/// is [trimmed](telecine_engine::store::Store::trim_feed): its newest entry stands for the number of the next.
const FORGET: [&str; 10] = [
    include_str!("sql/mark_generations.sql"),
    include_str!("sql/abandon_generations.sql"),
    "delete from generation where run = $1",
    "delete from request_key where run = $1",
    "delete from run_tag where run = $1",
    "delete from plan where run = $1",
    "delete from attempt where run = $1",
    "delete from event where run = $1",
    "delete from step where run = $1",
    "delete from run where id = $1",
];

pub(crate) async fn expired(
    db: &mut SqliteConnection,
    (age, after, limit): (Duration, Option<&RunId>, usize),
) -> Result<Vec<RunId>, Error> {
    let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired.sql"))
        .bind((clock::now() - age).timestamp_millis())
        .bind(after.map_or("", RunId::as_str))
        .bind(RunId::first_of(Utc::now() - age + CLOCKS).as_str())
        .bind(count(limit as u64))
        .fetch_all(&mut *db)
        .await?;
    Ok(ids.into_iter().map(RunId::from).collect())
}

pub(crate) async fn unswept(
    db: &mut SqliteConnection,
    (before, after, limit): (DateTime<Utc>, Option<&Generation>, usize),
) -> Result<Vec<Generation>, Error> {
    let rows = sqlx::query(include_str!("sql/unswept.sql"))
        .bind(before.timestamp_millis())
        .bind(after.map_or("", |after| &after.name))
        .bind(after.map_or(0, |after| count(after.n)))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).generation()).collect()
}

pub(crate) async fn abandoned(
    db: &mut SqliteConnection,
    (after, limit): (Option<&Generation>, usize),
) -> Result<Vec<Generation>, Error> {
    let rows = sqlx::query(include_str!("sql/abandoned.sql"))
        .bind(after.map_or("", |after| &after.name))
        .bind(after.map_or(0, |after| count(after.n)))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).generation()).collect()
}

impl Writing<'_> {
    pub(crate) async fn forget_run(
        &mut self,
        run: &RunId,
        age: Duration,
    ) -> Result<Option<RunId>, Error> {
        let expired: Option<i64> = sqlx::query_scalar(include_str!("sql/is_expired.sql"))
            .bind((self.now - age).timestamp_millis())
            .bind(run.as_str())
            .fetch_optional(&mut *self.connection)
            .await?;
        if expired.is_none() {
            return Ok(None);
        }
        for statement in FORGET {
            sqlx::query(statement)
                .bind(run.as_str())
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(Some(run.clone()))
    }
}
