//! Pages of runs.

use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::RunId;
use telecine_engine::run::Run;
use telecine_engine::store::{Look, Paging, Path, RunFilter, RunPage};

use crate::error::Error;
use crate::rows::{cells, count};

pub(crate) async fn list_runs(
    db: &mut SqliteConnection,
    filter: &RunFilter,
) -> Result<RunPage, Error> {
    let path = filter.path();
    let mut paging = Paging::new(filter);
    while let Some(look) = paging.look() {
        let seen = newest(db, &path, &look).await?;
        let fitting = fitting(db, (filter, paging.missing()), &seen).await?;
        paging.add(&seen, fitting);
    }
    Ok(paging.page())
}

/// Ids of the next runs on a way, newest first.
async fn newest(db: &mut SqliteConnection, path: &Path, look: &Look) -> Result<Vec<RunId>, Error> {
    let (sql, name) = match path {
        Path::All => (include_str!("sql/newest_runs.sql"), None),
        Path::Workflow(name) => (include_str!("sql/newest_runs_of_workflow.sql"), Some(name)),
        Path::Tag(tag) => (include_str!("sql/newest_tagged_runs.sql"), Some(tag)),
    };
    let mut query = sqlx::query_scalar(sql)
        .bind(look.before.as_str())
        .bind(look.after.as_str())
        .bind(count(look.limit as u64));
    if let Some(name) = name {
        query = query.bind(name);
    }
    let ids: Vec<String> = query.fetch_all(db).await?;
    Ok(ids.into_iter().map(RunId::from).collect())
}

/// Those of a few runs that fit, newest first, at most so many.
async fn fitting(
    db: &mut SqliteConnection,
    (filter, limit): (&RunFilter, usize),
    seen: &[RunId],
) -> Result<Vec<Run>, Error> {
    let rows = sqlx::query(include_str!("sql/list_runs.sql"))
        .bind(serde_json::to_string(seen)?)
        .bind(filter.status.map(|status| status.as_str()))
        .bind(&filter.workflow)
        .bind(filter.created_after.map(|at| at.timestamp_millis()))
        .bind(serde_json::to_string(&filter.tags())?)
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).run()).collect()
}
