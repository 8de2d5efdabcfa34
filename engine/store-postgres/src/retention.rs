//! What is forgotten of runs that nobody asks for any more.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::postgres::PgConnection;
use telecine_engine::id::RunId;
use telecine_engine::store::Generation;

use crate::error::Error;
use crate::rows::{cells, count};
use crate::save::Writing;

/// By how much the clocks of processes may differ that make ids.
const CLOCKS: TimeDelta = TimeDelta::days(1);

/// Everything that is known of runs, what refers to other rows first.
const FORGET: [&str; 18] = [
    include_str!("sql/mark_generations.sql"),
    include_str!("sql/abandon_generations.sql"),
    "delete from generation where run = any($1)",
    "delete from request_key where run = any($1)",
    include_str!("sql/leave_requests.sql"),
    "delete from request using run \
     where run.id = any($1) and request.fingerprint = run.fingerprint and request.run = run.id",
    "delete from request_before where run = any($1)",
    "delete from run_tag where run = any($1)",
    "delete from ready where run = any($1)",
    "delete from plan where run = any($1)",
    "delete from made where run = any($1)",
    "delete from artifact where run = any($1)",
    "delete from checkpoint_growth where run = any($1)",
    "delete from checkpoint where run = any($1)",
    "delete from attempt where run = any($1)",
    "delete from event where run = any($1)",
    "delete from step where run = any($1)",
    "delete from run where id = any($1)",
];

pub(crate) async fn expired(
    db: &mut PgConnection,
    (age, after, limit): (Duration, Option<&RunId>, usize),
) -> Result<Vec<RunId>, Error> {
    let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired.sql"))
        .bind(age.as_secs_f64())
        .bind(after.map_or("", RunId::as_str))
        .bind(RunId::first_of(Utc::now() - age + CLOCKS).as_str())
        .bind(count(limit as u64))
        .fetch_all(&mut *db)
        .await?;
    Ok(ids.into_iter().map(RunId::from).collect())
}

pub(crate) async fn unswept(
    db: &mut PgConnection,
    (age, after, limit): (Duration, Option<&Generation>, usize),
) -> Result<Vec<Generation>, Error> {
    let rows = sqlx::query(include_str!("sql/unswept.sql"))
        .bind(age.as_secs_f64())
        .bind(after.map_or("", |after| &after.name))
        .bind(after.map_or(0, |after| count(after.n)))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).generation()).collect()
}

pub(crate) async fn abandoned(
    db: &mut PgConnection,
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
    pub(crate) async fn forget_runs(
        &mut self,
        runs: &[RunId],
        age: Duration,
    ) -> Result<Vec<RunId>, Error> {
        let ids: Vec<&str> = runs.iter().map(RunId::as_str).collect();
        let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired_of.sql"))
            .bind(age.as_secs_f64())
            .bind(ids)
            .fetch_all(&mut *self.connection)
            .await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        for statement in FORGET {
            sqlx::query(statement)
                .bind(&ids)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(ids.into_iter().map(RunId::from).collect())
    }
}
