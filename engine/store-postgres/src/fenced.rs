//! Writes of running attempts. Each changes nothing once the step is not `running` under the
//! attempt's fence. All but progress and deadlines hold the lock of the run.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use telecine_engine::activity::{Growth, Mismatch, Progress, PublicationMove};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::run::Event;
use telecine_engine::store::{Content, Fence, NewCheckpoint, StoreError};

use crate::error::Error;
use crate::rows::{self, StepKeys, cells, count, micros};
use crate::save::Writing;

/// Why an attempt begins at the start although there is a checkpoint.
const REFUSED: &str = "it was made with other parameters, of other objects, or by another version of the activity or its tools";

pub(crate) async fn set_deadline(
    db: &mut PgConnection,
    fence: &Fence,
    after: Duration,
) -> Result<(), Error> {
    let done = sqlx::query(include_str!("sql/set_deadline.sql"))
        .bind(fence.run.as_str())
        .bind(&fence.step.node)
        .bind(rows::item(&fence.step))
        .bind(count(fence.fence))
        .bind(micros(after))
        .execute(db)
        .await?;
    if done.rows_affected() == 0 {
        Err(fenced(fence))
    } else {
        Ok(())
    }
}

/// Answers the fences that own their step no more.
pub(crate) async fn save_progress(
    db: &mut PgConnection,
    progress: &[(Fence, Progress)],
) -> Result<Vec<Fence>, Error> {
    let keys: StepKeys<'_> = progress
        .iter()
        .map(|(fence, _)| (&fence.run, &fence.step))
        .collect();
    let fences: Vec<i64> = progress
        .iter()
        .map(|(fence, _)| count(fence.fence))
        .collect();
    let texts = progress
        .iter()
        .map(|(_, progress)| serde_json::to_string(progress));
    let rows = sqlx::query(include_str!("sql/save_progress.sql"))
        .bind(&keys.runs)
        .bind(&keys.nodes)
        .bind(&keys.items)
        .bind(fences)
        .bind(texts.collect::<Result<Vec<_>, _>>()?)
        .fetch_all(db)
        .await?;
    let owned = rows
        .iter()
        .map(|row| Ok((cells(row).run_id()?, cells(row).step_id()?)))
        .collect::<Result<HashSet<(RunId, StepId)>, Error>>()?;
    let lost = |fence: &&Fence| !owned.contains(&(fence.run.clone(), fence.step.clone()));
    Ok(progress
        .iter()
        .map(|(fence, _)| fence)
        .filter(lost)
        .cloned()
        .collect())
}

impl Writing<'_> {
    /// Answers the number of the checkpoint.
    pub(crate) async fn checkpoint(
        &mut self,
        fence: &Fence,
        checkpoint: &NewCheckpoint,
    ) -> Result<u64, Error> {
        self.lock(&fence.run).await?;
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
        self.artifacts(&fence.run, &fence.step, &checkpoint.artifacts)
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
            .bind(self.now)
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
            .bind(self.now)
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

    pub(crate) async fn refuse_checkpoint(&mut self, fence: &Fence) -> Result<(), Error> {
        self.check(fence).await?;
        let attempt: Option<i32> = sqlx::query_scalar(include_str!("sql/refuse_checkpoint.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .fetch_optional(&mut *self.connection)
            .await?;
        let Some(attempt) = attempt else {
            return Ok(());
        };
        let seq = "select seq from checkpoint where run = $1 and node = $2 and item = $3";
        let seq: Option<i64> = sqlx::query_scalar(seq)
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .fetch_optional(&mut *self.connection)
            .await?;
        self.forget(&[(&fence.run, &fence.step)].into_iter().collect())
            .await?;
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

    async fn number_checkpoint(&mut self, fence: &Fence) -> Result<(u64, i32), Error> {
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
            cells(&row).small("attempts")?,
        ))
    }

    pub(crate) async fn generation(
        &mut self,
        fence: &Fence,
        (name, above, keys): (&str, u32, Option<&str>),
    ) -> Result<u64, Error> {
        self.check(fence).await?;
        // Runs that allocate for one name go one after the other.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('generation ' || $1, 0))")
            .bind(name)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query(include_str!("sql/allocate_generation.sql"))
            .bind(name)
            .bind(fence.run.as_str())
            .bind(i64::from(above))
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
            .bind(self.now)
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

    /// Locks the run and sees whether the attempt still owns its step.
    async fn check(&mut self, fence: &Fence) -> Result<(), Error> {
        self.lock(&fence.run).await?;
        let owns: bool = sqlx::query_scalar(include_str!("sql/owns_step.sql"))
            .bind(fence.run.as_str())
            .bind(&fence.step.node)
            .bind(rows::item(&fence.step))
            .bind(count(fence.fence))
            .fetch_one(&mut *self.connection)
            .await?;
        if owns { Ok(()) } else { Err(fenced(fence)) }
    }

    async fn lock(&mut self, run: &RunId) -> Result<(), Error> {
        sqlx::query("select 1 from run where id = $1 for update")
            .bind(run.as_str())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// A checkpoint with its number, and that of the attempt that saves it.
#[derive(Clone, Copy)]
struct Head<'a> {
    seq: u64,
    attempt: i32,
    checkpoint: &'a NewCheckpoint,
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
