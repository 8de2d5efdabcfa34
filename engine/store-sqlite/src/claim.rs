//! What can be claimed.

use sqlx::sqlite::SqliteConnection;
use telecine_engine::activity::Checkpoint;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::queue::{Capability, Kind, Waiting};
use telecine_engine::store::grow;

use crate::error::Error;
use crate::rows::{FullKey, cells, count};

/// Ready steps: of each kind the first, or of a run. Those of kinds that only a newer release knows are
/// left out.
pub(crate) async fn waiting(
    db: &mut SqliteConnection,
    run: Option<&RunId>,
    limit: usize,
) -> Result<Vec<Waiting>, Error> {
    let query = match run {
        Some(run) => sqlx::query(include_str!("sql/waiting_of_run.sql")).bind(run.as_str()),
        None => sqlx::query(include_str!("sql/waiting.sql")),
    };
    let rows = query.bind(count(limit as u64)).fetch_all(db).await?;
    rows.iter()
        .filter_map(|row| cells(row).waiting().transpose())
        .collect()
}

/// How many steps wait, by kind, but for kinds that only a newer release knows.
pub(crate) async fn count_waiting(db: &mut SqliteConnection) -> Result<Vec<(Kind, u64)>, Error> {
    let rows = sqlx::query(include_str!("sql/count_waiting.sql"))
        .fetch_all(db)
        .await?;
    rows.iter()
        .filter_map(|row| cells(row).backlog().transpose())
        .collect()
}

/// Says what a session can run.
pub(crate) async fn offer(
    db: &mut SqliteConnection,
    session: &SessionId,
    offer: &Capability,
) -> Result<(), Error> {
    sqlx::query("update session set offer = $2 where id = $1")
        .bind(session.as_str())
        .bind(serde_json::to_string(offer)?)
        .execute(db)
        .await?;
    Ok(())
}

/// What sessions can run. One that cannot be read is an error and not left out: it may fit what no other
/// does.
pub(crate) async fn offers(db: &mut SqliteConnection) -> Result<Vec<Capability>, Error> {
    let offers: Vec<String> =
        sqlx::query_scalar("select offer from session where offer is not null")
            .fetch_all(db)
            .await?;
    let offers = offers.iter().map(|offer| serde_json::from_str(offer));
    Ok(offers.collect::<Result<_, _>>()?)
}

/// The latest checkpoints of steps.
pub(crate) async fn checkpoints(
    db: &mut SqliteConnection,
    steps: &[(RunId, StepId)],
) -> Result<Vec<(RunId, StepId, Checkpoint)>, Error> {
    let keys: Vec<_> = steps
        .iter()
        .map(|(run, step)| FullKey::new(run, step))
        .collect();
    let rows = sqlx::query(include_str!("sql/load_checkpoints.sql"))
        .bind(serde_json::to_string(&keys)?)
        .fetch_all(&mut *db)
        .await?;
    let mut checkpoints = rows
        .iter()
        .map(|row| {
            let row = cells(row);
            Ok((row.run_id()?, row.step_id()?, row.checkpoint()?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let growths = sqlx::query(include_str!("sql/load_growths.sql"))
        .bind(serde_json::to_string(&keys)?)
        .fetch_all(db)
        .await?;
    let growths = growths
        .iter()
        .map(|row| {
            let row = cells(row);
            Ok((row.run_id()?, row.step_id()?, row.json("value")?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    grow(&mut checkpoints, growths)?;
    Ok(checkpoints)
}
