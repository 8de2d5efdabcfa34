//! Writes of running attempts. Each changes nothing once the step is not `running` under the
//! attempt's fence.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use telecine_engine::activity::{Growth, Mismatch, Progress, PublicationMove};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::objects::StoredArtifact;
use telecine_engine::run::Event;
use telecine_engine::store::{Content, Fence, NewCheckpoint, StoreError};

use crate::clock;
use crate::error::Error;
use crate::rows::{self, FullKey, ProgressCells, cells, count};
use crate::save::Writing;

/// Why an attempt begins at the start although there is a checkpoint.
const REFUSED: &str = "it was made with other parameters, of other objects, or by another version of the activity or its tools";

impl Writing<'_> {
    pub(crate) async fn set_deadline(
        &mut self,
        fence: &Fence,
        after: Duration,
    ) -> Result<(), Error> {
        let done = sqlx::query(include_str!("sql/set_deadline.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(fence.fence))
            .bind(clock::later(self.now, after).timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        if done.rows_affected() == 0 {
            Err(fenced(fence))
        } else {
            Ok(())
        }
    }

    /// Answers the fences that own their step no more.
    pub(crate) async fn progress(
        &mut self,
        progress: &[(Fence, Progress)],
    ) -> Result<Vec<Fence>, Error> {
        let owned = self.owned(progress).await?;
        let owns = |fence: &Fence| owned.contains(&(fence.run.clone(), fence.step.clone()));
        let (kept, lost): (Vec<_>, Vec<_>) = progress.iter().partition(|(fence, _)| owns(fence));
        let cells = kept
            .into_iter()
            .map(|(fence, progress)| ProgressCells::new(&fence.run, &fence.step, progress));
        self.save_progress(cells).await?;
        Ok(lost.into_iter().map(|(fence, _)| fence.clone()).collect())
    }

    /// The steps of those attempts that still own theirs.
    async fn owned(
        &mut self,
        progress: &[(Fence, Progress)],
    ) -> Result<HashSet<(RunId, StepId)>, Error> {
        let fences: Vec<_> = progress
            .iter()
            .map(|(fence, _)| FenceCells::from(fence))
            .collect();
        let rows: Vec<SqliteRow> = sqlx::query(include_str!("sql/owned.sql"))
            .bind(serde_json::to_string(&fences)?)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter()
            .map(|row| Ok((cells(row).run_id()?, cells(row).step_id()?)))
            .collect()
    }

    /// Answers the number of the checkpoint.
    pub(crate) async fn checkpoint(
        &mut self,
        fence: &Fence,
        checkpoint: &NewCheckpoint,
    ) -> Result<u64, Error> {
        let (seq, attempt) = self.number_checkpoint(fence).await?;
        let head = Head {
            seq,
            attempt,
            checkpoint,
        };
        match &checkpoint.content {
            Content::Whole(value) => self.whole(fence, head, value).await?,
            Content::Grown { from, by } => self.grown(fence, head, (*from, by)).await?,
        }
        self.checkpoint_objects(fence, seq, &checkpoint.artifacts)
            .await?;
        let keys: Vec<&str> = checkpoint
            .artifacts
            .iter()
            .map(|a| a.key.as_str())
            .collect();
        let data = json!({
            "attempt": attempt, "seq": seq, "covers_s": checkpoint.covers, "artifacts": keys,
        });
        self.event(&fence.run, &event("step.checkpoint", fence, data))
            .await?;
        Ok(seq)
    }

    /// Puts a checkpoint in the place of the one before, and of what that one had grown by.
    async fn whole(&mut self, fence: &Fence, head: Head<'_>, value: &Value) -> Result<(), Error> {
        self.forget_growths(fence).await?;
        sqlx::query(include_str!("sql/save_checkpoint.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(head.seq))
            .bind(head.attempt)
            .bind(serde_json::to_string(value)?)
            .bind(head.checkpoint.covers.map(|covers| covers.from_s))
            .bind(head.checkpoint.covers.map(|covers| covers.to_s))
            .bind(&head.checkpoint.compat)
            .bind(self.now.timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Adds to the latest checkpoint what it grew by.
    async fn grown(
        &mut self,
        fence: &Fence,
        head: Head<'_>,
        (from, by): (u64, &Growth),
    ) -> Result<(), Error> {
        let grown = sqlx::query(include_str!("sql/grow_checkpoint.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(from))
            .bind(count(head.seq))
            .bind(head.attempt)
            .bind(head.checkpoint.covers.map(|covers| covers.from_s))
            .bind(head.checkpoint.covers.map(|covers| covers.to_s))
            .bind(self.now.timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        if grown.rows_affected() == 0 {
            return Err(StoreError::Corrupt(Mismatch.to_string()).into());
        }
        sqlx::query("insert into checkpoint_growth values ($1, $2, $3, $4, $5)")
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(head.seq))
            .bind(serde_json::to_string(by)?)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn forget_growths(&mut self, fence: &Fence) -> Result<(), Error> {
        sqlx::query("delete from checkpoint_growth where run = $1 and node = $2 and item = $3")
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Records the objects that a checkpoint is the first to name.
    async fn checkpoint_objects(
        &mut self,
        fence: &Fence,
        seq: u64,
        objects: &[StoredArtifact],
    ) -> Result<(), Error> {
        if objects.is_empty() {
            return Ok(());
        }
        sqlx::query("insert into checkpoint_objects values ($1, $2, $3, $4, $5)")
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(seq))
            .bind(serde_json::to_string(objects)?)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    pub(crate) async fn refuse_checkpoint(&mut self, fence: &Fence) -> Result<(), Error> {
        self.check(fence).await?;
        let row = sqlx::query(include_str!("sql/refuse_checkpoint.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .fetch_optional(&mut *self.connection)
            .await?;
        let Some(row) = row else { return Ok(()) };
        let attempt: u32 = cells(&row).number("attempts")?;
        let seq = self.offered(fence).await?;
        self.forget(&fence.run, &fence.step).await?;
        sqlx::query(include_str!("sql/forget_checkpoint_failures.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .execute(&mut *self.connection)
            .await?;
        let data = json!({"attempt": attempt, "seq": seq, "reason": REFUSED});
        self.event(&fence.run, &event("step.checkpoint_dropped", fence, data))
            .await
    }

    /// The number of a step's latest checkpoint.
    async fn offered(&mut self, fence: &Fence) -> Result<Option<u64>, Error> {
        let seq = "select seq from checkpoint where run = $1 and node = $2 and item = $3";
        let row = sqlx::query(seq)
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .fetch_optional(&mut *self.connection)
            .await?;
        row.map(|row| cells(&row).number("seq")).transpose()
    }

    async fn number_checkpoint(&mut self, fence: &Fence) -> Result<(u64, u32), Error> {
        let row = sqlx::query(include_str!("sql/number_checkpoint.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(fence.fence))
            .fetch_optional(&mut *self.connection)
            .await?;
        let row = row.ok_or_else(|| fenced(fence))?;
        Ok((
            cells(&row).number("checkpoints")?,
            cells(&row).number("attempts")?,
        ))
    }

    pub(crate) async fn generation(
        &mut self,
        fence: &Fence,
        (name, above, keys): (&str, u32, Option<&str>),
    ) -> Result<u64, Error> {
        self.check(fence).await?;
        sqlx::query(include_str!("sql/allocate_generation.sql"))
            .bind(name)
            .bind(fence.run.as_str())
            .bind(above)
            .execute(&mut *self.connection)
            .await?;
        if let Some(keys) = keys {
            sqlx::query(include_str!("sql/place_generation.sql"))
                .bind(fence.run.as_str())
                .bind(name)
                .bind(keys)
                .execute(&mut *self.connection)
                .await?;
        }
        let row = sqlx::query("select n from generation where run = $1 and name = $2")
            .bind(fence.run.as_str())
            .bind(name)
            .fetch_one(&mut *self.connection)
            .await?;
        cells(&row).number("n")
    }

    pub(crate) async fn publish(
        &mut self,
        fence: &Fence,
        (name, generation): (&str, u64),
    ) -> Result<PublicationMove, Error> {
        self.check(fence).await?;
        let moved = sqlx::query(include_str!("sql/publish.sql"))
            .bind(name)
            .bind(count(generation))
            .bind(self.now.timestamp_millis())
            .execute(&mut *self.connection)
            .await?;
        let row = sqlx::query("select previous, generation from publication where name = $1")
            .bind(name)
            .fetch_one(&mut *self.connection)
            .await?;
        let previous = cells(&row).optional_number("previous")?;
        if moved.rows_affected() > 0 {
            sqlx::query(include_str!("sql/published_by.sql"))
                .bind(name)
                .bind(count(generation))
                .bind(fence.run.as_str())
                .bind(&fence.step.node)
                .bind(rows::item(&fence.step))
                .execute(&mut *self.connection)
                .await?;
            let data = json!({"name": name, "generation": generation, "previous": previous});
            self.event(&fence.run, &event("publication.moved", fence, data))
                .await?;
        }
        let current = cells(&row).number("generation")?;
        Ok(PublicationMove { previous, current })
    }

    async fn check(&mut self, fence: &Fence) -> Result<(), Error> {
        let owns: bool = sqlx::query_scalar(include_str!("sql/owns_step.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(fence.fence))
            .fetch_one(&mut *self.connection)
            .await?;
        if owns { Ok(()) } else { Err(fenced(fence)) }
    }
}

/// A checkpoint with its number, and that of the attempt that saves it.
#[derive(Clone, Copy)]
struct Head<'a> {
    seq: u64,
    attempt: u32,
    checkpoint: &'a NewCheckpoint,
}

/// A fence as `owned.sql` takes it.
#[derive(Serialize)]
struct FenceCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    fence: u64,
}

impl<'a> From<&'a Fence> for FenceCells<'a> {
    fn from(fence: &'a Fence) -> Self {
        Self {
            step: FullKey::new(&fence.run, &fence.step),
            fence: fence.fence,
        }
    }
}

fn event(kind: &str, fence: &Fence, data: serde_json::Value) -> Event {
    Event {
        kind: kind.to_owned(),
        step: Some(fence.step.clone()),
        data,
    }
}

fn fenced(fence: &Fence) -> Error {
    StoreError::Fenced {
        run: fence.run.clone(),
        step: fence.step.clone(),
    }
    .into()
}
