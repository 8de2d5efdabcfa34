//! Claims: ready steps become running attempts.

use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use telecine_engine::id::RunId;
use telecine_engine::run::Event;
use telecine_engine::store::{Claim, ClaimRequest};

use crate::error::Error;
use crate::rows::{Cells, EventCells, FullKey, count};
use crate::save::Writing;

/// Whether a request would get anything.
pub(crate) async fn claimable(
    db: &mut SqliteConnection,
    request: &ClaimRequest,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(include_str!("sql/claimable.sql"))
        .bind(request.run.as_ref().map(RunId::as_str))
        .bind(serde_json::to_string(&request.activities)?)
        .fetch_one(db)
        .await?)
}

impl Writing<'_> {
    /// Claims steps and writes what belongs to that: attempts, the start of runs, events. A session
    /// that is `live` only has to be there; of another, the row says how long its lease is.
    pub(crate) async fn claim(
        &mut self,
        request: &ClaimRequest,
        live: bool,
    ) -> Result<Vec<Claim>, Error> {
        let Some(claimed) = self.claim_steps(request, live).await? else {
            return Ok(Vec::new());
        };
        let started = self.start(&claimed).await?;
        let claims = self.load_claims(&claimed).await?;
        let events: Vec<(RunId, Event)> = started
            .into_iter()
            .map(|run| {
                (
                    run,
                    Event {
                        kind: "run.started".to_owned(),
                        step: None,
                        data: json!(null),
                    },
                )
            })
            .chain(
                claims
                    .iter()
                    .map(|claim| (claim.fence.run.clone(), claimed_event(request, claim))),
            )
            .collect();
        self.events(events.iter().map(|(run, event)| EventCells {
            run: run.as_str(),
            event,
        }))
        .await?;
        Ok(claims)
    }

    /// The keys of the steps that were claimed, as a JSON array.
    async fn claim_steps(
        &mut self,
        request: &ClaimRequest,
        live: bool,
    ) -> Result<Option<String>, Error> {
        let rows = sqlx::query(include_str!("sql/claim_steps.sql"))
            .bind(request.session.as_str())
            .bind(self.now.timestamp_millis())
            .bind(request.run.as_ref().map(RunId::as_str))
            .bind(serde_json::to_string(&request.activities)?)
            .bind(count(request.limit as u64))
            .bind(live)
            .fetch_all(&mut *self.connection)
            .await?;
        let keys = rows
            .iter()
            .map(|row| Ok((Cells(row).run_id()?, Cells(row).step_id()?)))
            .collect::<Result<Vec<_>, Error>>()?;
        if keys.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = keys
            .iter()
            .map(|(run, step)| FullKey::new(run, step))
            .collect();
        Ok(Some(serde_json::to_string(&keys)?))
    }

    /// Writes the attempts; answers the runs that this claim started.
    async fn start(&mut self, claimed: &str) -> Result<Vec<RunId>, Error> {
        let now = self.now.timestamp_millis();
        sqlx::query(include_str!("sql/claim_attempts.sql"))
            .bind(claimed)
            .bind(now)
            .execute(&mut *self.connection)
            .await?;
        let started: Vec<String> = sqlx::query_scalar(include_str!("sql/claim_runs.sql"))
            .bind(claimed)
            .bind(now)
            .fetch_all(&mut *self.connection)
            .await?;
        Ok(started.into_iter().map(RunId::from).collect())
    }

    async fn load_claims(&mut self, claimed: &str) -> Result<Vec<Claim>, Error> {
        let rows: Vec<SqliteRow> = sqlx::query(include_str!("sql/claim_load.sql"))
            .bind(claimed)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Cells(row).claim(self.now)).collect()
    }
}

fn claimed_event(request: &ClaimRequest, claim: &Claim) -> Event {
    Event {
        kind: "step.claimed".to_owned(),
        step: Some(claim.fence.step.clone()),
        data: json!({
            "attempt": claim.attempt,
            "worker": request.session,
            "resumed_from": claim.checkpoint.as_ref().map(|checkpoint| checkpoint.seq),
        }),
    }
}
