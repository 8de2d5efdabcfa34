//! What the machine changed, as rows.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteQueryResult};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::Artifact;
use telecine_engine::run::{Event, Node, Run, Step};
use telecine_engine::store::{NewRun, StoreError};

use crate::error::Error;
use crate::rows::{ArtifactCells, AttemptCells, EventCells, StepCells, StepKey, count};

/// Where and when rows are written.
pub(crate) struct Writing<'c> {
    pub(crate) connection: &'c mut SqliteConnection,
    pub(crate) now: DateTime<Utc>,
}

impl Writing<'_> {
    /// Inserts a run with its nodes and steps.
    pub(crate) async fn create_run(&mut self, new: &NewRun) -> Result<(), Error> {
        let run = &new.run;
        sqlx::query(include_str!("sql/create_run.sql"))
            .bind(run.id.as_str())
            .bind(&run.workflow)
            .bind(run.version)
            .bind(&run.definition)
            .bind(run.status.as_str())
            .bind(run.round)
            .bind(count(run.revision))
            .bind(serde_json::to_string(&run.input)?)
            .bind(&run.fingerprint)
            .bind(&run.stores.source)
            .bind(&run.stores.media)
            .bind(serde_json::to_string(&run.labels)?)
            .bind(optional(run.output.as_ref())?)
            .bind(optional(run.error.as_ref())?)
            .bind(run.created_at.timestamp_millis())
            .bind(run.started_at.map(|time| time.timestamp_millis()))
            .bind(run.ended_at.map(|time| time.timestamp_millis()))
            .execute(&mut *self.connection)
            .await?;
        let nodes = include_str!("sql/create_nodes.sql");
        self.many(nodes, &run.id, new.nodes.iter()).await?;
        self.steps(&run.id, &new.steps).await
    }

    /// Writes what a fold changed. Removals come first, so that what is made anew stays.
    pub(crate) async fn changes(&mut self, run: &RunId, changes: &Changes) -> Result<(), Error> {
        self.collapse(run, &changes.collapsed).await?;
        self.forget(run, &changes.forgotten).await?;
        if let Some(header) = &changes.run {
            self.header(header).await?;
        }
        self.many(
            include_str!("sql/save_nodes.sql"),
            run,
            changes.nodes.iter(),
        )
        .await?;
        self.steps(run, &changes.steps).await?;
        self.untouched(run, &changes.untouched).await?;
        let ends = changes.attempts.iter().map(AttemptCells::from);
        self.many_at(include_str!("sql/save_attempts.sql"), run, ends)
            .await?;
        for (step, artifacts) in &changes.artifacts {
            self.artifacts(run, step, Artifacts::OfOutput(artifacts))
                .await?;
        }
        let events = changes.events.iter().map(|event| EventCells {
            run: run.as_str(),
            event,
        });
        self.events(events).await
    }

    async fn collapse(&mut self, run: &RunId, nodes: &[String]) -> Result<(), Error> {
        self.many(include_str!("sql/collapse_steps.sql"), run, nodes.iter())
            .await?;
        Ok(())
    }

    async fn forget(&mut self, run: &RunId, steps: &[StepId]) -> Result<(), Error> {
        let keys = || steps.iter().map(StepKey::from);
        self.many(include_str!("sql/forget_checkpoints.sql"), run, keys())
            .await?;
        self.many(include_str!("sql/forget_artifacts.sql"), run, keys())
            .await?;
        Ok(())
    }

    async fn header(&mut self, run: &Run) -> Result<(), Error> {
        sqlx::query(include_str!("sql/save_run.sql"))
            .bind(run.id.as_str())
            .bind(run.status.as_str())
            .bind(run.round)
            .bind(count(run.revision))
            .bind(optional(run.output.as_ref())?)
            .bind(optional(run.error.as_ref())?)
            .bind(run.started_at.map(|time| time.timestamp_millis()))
            .bind(run.ended_at.map(|time| time.timestamp_millis()))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn steps(&mut self, run: &RunId, steps: &[Step]) -> Result<(), Error> {
        let cells = steps.iter().map(StepCells::from);
        let written = self
            .many(include_str!("sql/save_steps.sql"), run, cells)
            .await?;
        if written == steps.len() as u64 {
            return Ok(());
        }
        let message = format!("{run} has no node for some of the steps to be saved");
        Err(StoreError::Corrupt(message).into())
    }

    async fn untouched(&mut self, run: &RunId, nodes: &[Node]) -> Result<(), Error> {
        self.many_at(include_str!("sql/save_untouched.sql"), run, nodes.iter())
            .await
    }

    /// Records objects of a step.
    pub(crate) async fn artifacts(
        &mut self,
        run: &RunId,
        step: &StepId,
        artifacts: Artifacts<'_>,
    ) -> Result<(), Error> {
        let (artifacts, from_checkpoint) = match artifacts {
            Artifacts::OfOutput(artifacts) => (artifacts, false),
            Artifacts::OfCheckpoint(artifacts) => (artifacts, true),
        };
        let cells = artifacts.iter().map(|artifact| ArtifactCells {
            step: step.into(),
            artifact,
        });
        let Some(array) = array(cells)? else {
            return Ok(());
        };
        sqlx::query(include_str!("sql/save_artifacts.sql"))
            .bind(run.as_str())
            .bind(array)
            .bind(from_checkpoint)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Appends an event of a run.
    pub(crate) async fn event(&mut self, run: &RunId, event: &Event) -> Result<(), Error> {
        self.events(std::iter::once(EventCells {
            run: run.as_str(),
            event,
        }))
        .await
    }

    /// Appends events.
    pub(crate) async fn events(
        &mut self,
        events: impl Iterator<Item = EventCells<'_>>,
    ) -> Result<(), Error> {
        let Some(array) = array(events)? else {
            return Ok(());
        };
        sqlx::query(include_str!("sql/save_events.sql"))
            .bind(array)
            .bind(self.now.timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Runs a statement over a run and an array of rows, if there are any; answers how many rows
    /// it changed.
    async fn many(
        &mut self,
        sql: &'static str,
        run: &RunId,
        rows: impl Iterator<Item = impl Serialize>,
    ) -> Result<u64, Error> {
        let Some(array) = array(rows)? else {
            return Ok(0);
        };
        let done: SqliteQueryResult = sqlx::query(sql)
            .bind(run.as_str())
            .bind(array)
            .execute(&mut *self.connection)
            .await?;
        Ok(done.rows_affected())
    }

    /// As `many`, for statements that also take the time.
    async fn many_at(
        &mut self,
        sql: &'static str,
        run: &RunId,
        rows: impl Iterator<Item = impl Serialize>,
    ) -> Result<(), Error> {
        let Some(array) = array(rows)? else {
            return Ok(());
        };
        sqlx::query(sql)
            .bind(run.as_str())
            .bind(array)
            .bind(self.now.timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// What objects of a step are named by.
pub(crate) enum Artifacts<'a> {
    OfOutput(&'a [Artifact]),
    OfCheckpoint(&'a [Artifact]),
}

/// Rows as the JSON array that a statement reads with `json_each`; `None` if there are no rows.
pub(crate) fn array(
    rows: impl Iterator<Item = impl Serialize>,
) -> Result<Option<String>, serde_json::Error> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(None);
    }
    let mut array = String::from("[");
    for row in rows {
        if array.len() > 1 {
            array.push(',');
        }
        array.push_str(&serde_json::to_string(&row)?);
    }
    array.push(']');
    Ok(Some(array))
}

fn optional(value: Option<&impl Serialize>) -> Result<Option<String>, serde_json::Error> {
    value.map(serde_json::to_string).transpose()
}
