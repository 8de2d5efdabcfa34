//! What is forgotten of runs that nobody asks for any more.

use sqlx::postgres::PgConnection;
use telecine_engine::id::RunId;
use telecine_engine::store::{Ages, Expired, Generation};

use crate::error::Error;
use crate::rows::{cells, count};
use crate::save::Writing;

/// Everything that is known of runs, what refers to other rows first.
const FORGET: [&str; 15] = [
    "delete from generation where run = any($1)",
    "delete from request_key where run = any($1)",
    "delete from request where run = any($1)",
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
    (ages, after, limit): (Ages, Option<&RunId>, usize),
) -> Result<Vec<Expired>, Error> {
    let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired.sql"))
        .bind(ages.stopped.as_secs_f64())
        .bind(ages.superseded.as_secs_f64())
        .bind(after.map_or("", RunId::as_str))
        .bind(count(limit as u64))
        .fetch_all(&mut *db)
        .await?;
    let rows = sqlx::query(include_str!("sql/unseen.sql"))
        .bind(&ids)
        .fetch_all(db)
        .await?;
    let unseen: Result<Vec<Generation>, Error> =
        rows.iter().map(|row| cells(row).generation()).collect();
    Ok(Expired::of(ids.into_iter().map(RunId::from), unseen?))
}

impl Writing<'_> {
    pub(crate) async fn forget_runs(
        &mut self,
        runs: &[RunId],
        ages: Ages,
    ) -> Result<Vec<RunId>, Error> {
        let ids: Vec<&str> = runs.iter().map(RunId::as_str).collect();
        let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired_of.sql"))
            .bind(ages.stopped.as_secs_f64())
            .bind(ages.superseded.as_secs_f64())
            .bind(ids)
            .fetch_all(&mut *self.connection)
            .await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let marks = [include_str!("sql/mark_generations.sql")];
        for statement in marks.into_iter().chain(FORGET) {
            sqlx::query(statement)
                .bind(&ids)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(ids.into_iter().map(RunId::from).collect())
    }
}
