//! What is forgotten of runs that nobody asks for any more.

use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::RunId;
use telecine_engine::store::{Ages, Expired, Generation};

use crate::clock;
use crate::error::Error;
use crate::rows::{cells, count};
use crate::save::Writing;

/// Everything that is known of runs, what refers to other rows first. What belongs to a step goes with it.
const FORGET: [&str; 9] = [
    "delete from generation where run in (select value from json_each($1))",
    "delete from request_key where run in (select value from json_each($1))",
    "delete from run_tag where run in (select value from json_each($1))",
    "delete from plan where run in (select value from json_each($1))",
    "delete from attempt where run in (select value from json_each($1))",
    "delete from feed where run in (select value from json_each($1))",
    "delete from event where run in (select value from json_each($1))",
    "delete from step where run in (select value from json_each($1))",
    "delete from run where id in (select value from json_each($1))",
];

pub(crate) async fn expired(
    db: &mut SqliteConnection,
    (ages, after, limit): (Ages, Option<&RunId>, usize),
) -> Result<Vec<Expired>, Error> {
    let now = clock::now();
    let ids: Vec<String> = sqlx::query_scalar(include_str!("sql/expired.sql"))
        .bind((now - ages.stopped).timestamp_millis())
        .bind((now - ages.superseded).timestamp_millis())
        .bind(after.map_or("", RunId::as_str))
        .bind(count(limit as u64))
        .fetch_all(&mut *db)
        .await?;
    let rows = sqlx::query(include_str!("sql/unseen.sql"))
        .bind(serde_json::to_string(&ids)?)
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
            .bind((self.now - ages.stopped).timestamp_millis())
            .bind((self.now - ages.superseded).timestamp_millis())
            .bind(serde_json::to_string(&ids)?)
            .fetch_all(&mut *self.connection)
            .await?;
        let list = serde_json::to_string(&ids)?;
        let marks = [include_str!("sql/mark_generations.sql")];
        for statement in marks.into_iter().chain(FORGET) {
            sqlx::query(statement)
                .bind(&list)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(ids.into_iter().map(RunId::from).collect())
    }
}
