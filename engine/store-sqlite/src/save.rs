//! What the machine changed, as rows.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::Artifact;
use telecine_engine::run::{Event, Node, Run, Step};
use telecine_engine::store::{NewRun, StoreError};

use crate::error::Error;
use crate::rows::{
    ArtifactCells, AttemptCells, EventCells, InputCells, ProgressCells, StartCells, StepCells,
    StepKey, count,
};

/// An array of rows ends with the row that makes it this long, in bytes. SQLite takes a billion;
/// this is 40,000 steps with a few hundred bytes of input each, and bounds the memory it takes to
/// write 100,000 of 64 KiB.
const ARRAY_BYTES: usize = 16 << 20;

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
        self.attempts(run, changes).await?;
        for (step, artifacts) in &changes.artifacts {
            self.artifacts(run, step, artifacts).await?;
        }
        let events = changes.events.iter().map(|event| EventCells {
            run: run.as_str(),
            event,
        });
        self.events(events).await
    }

    async fn attempts(&mut self, run: &RunId, changes: &Changes) -> Result<(), Error> {
        let now = self.now.timestamp_millis();
        let starts = changes.started.iter().map(StartCells::from);
        let start = (include_str!("sql/start_attempts.sql"), now);
        self.many_with(start, run, starts).await?;
        let ends = changes.attempts.iter().map(AttemptCells::from);
        let end = (include_str!("sql/save_attempts.sql"), now);
        self.many_with(end, run, ends).await
    }

    async fn collapse(&mut self, run: &RunId, nodes: &[String]) -> Result<(), Error> {
        self.many(include_str!("sql/collapse_steps.sql"), run, nodes.iter())
            .await?;
        Ok(())
    }

    pub(crate) async fn forget(&mut self, run: &RunId, steps: &[StepId]) -> Result<(), Error> {
        let keys = || steps.iter().map(StepKey::from);
        self.many(include_str!("sql/forget_checkpoints.sql"), run, keys())
            .await?;
        self.many(include_str!("sql/forget_growths.sql"), run, keys())
            .await?;
        let objects = include_str!("sql/forget_checkpoint_objects.sql");
        self.many(objects, run, keys()).await?;
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
        if written != steps.len() as u64 {
            let message = format!("{run} has no node for some of the steps to be saved");
            return Err(StoreError::Corrupt(message).into());
        }
        let inputs = steps.iter().filter_map(InputCells::of);
        self.many(include_str!("sql/save_inputs.sql"), run, inputs)
            .await?;
        let progress = steps.iter().filter_map(|step| {
            let progress = step.progress.as_ref()?;
            Some(ProgressCells::new(run, &step.id, progress))
        });
        self.save_progress(progress).await?;
        self.begin_anew(run, steps).await
    }

    /// Writes the progress of steps.
    pub(crate) async fn save_progress(
        &mut self,
        progress: impl Iterator<Item = ProgressCells<'_>> + Send,
    ) -> Result<(), Error> {
        for array in arrays(progress) {
            sqlx::query(include_str!("sql/save_progress.sql"))
                .bind(array?)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Forgets the inputs and the progress of steps that have none any more.
    async fn begin_anew(&mut self, run: &RunId, steps: &[Step]) -> Result<(), Error> {
        let inputs = steps.iter().filter(|step| step.input.is_none());
        let inputs = inputs.map(|step| StepKey::from(&step.id));
        self.many(include_str!("sql/forget_inputs.sql"), run, inputs)
            .await?;
        // What was never claimed has none, and numbers of attempts never fall.
        let claimed = steps.iter().filter(|step| step.attempts > 0);
        let progress = claimed.filter(|step| step.progress.is_none());
        let progress = progress.map(|step| StepKey::from(&step.id));
        self.many(include_str!("sql/forget_progress.sql"), run, progress)
            .await?;
        Ok(())
    }

    async fn untouched(&mut self, run: &RunId, nodes: &[Node]) -> Result<(), Error> {
        self.many_with(
            (
                include_str!("sql/save_untouched.sql"),
                self.now.timestamp_millis(),
            ),
            run,
            nodes.iter(),
        )
        .await
    }

    /// Records objects of the output of a step.
    async fn artifacts(
        &mut self,
        run: &RunId,
        step: &StepId,
        artifacts: &[Artifact],
    ) -> Result<(), Error> {
        let cells = artifacts.iter().map(|artifact| ArtifactCells {
            step: step.into(),
            artifact,
        });
        self.many(include_str!("sql/save_artifacts.sql"), run, cells)
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
        events: impl Iterator<Item = EventCells<'_>> + Send,
    ) -> Result<(), Error> {
        for array in arrays(events) {
            sqlx::query(include_str!("sql/save_events.sql"))
                .bind(array?)
                .bind(self.now.timestamp_millis())
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Runs a statement over a run and arrays of rows; answers how many rows it changed.
    async fn many(
        &mut self,
        sql: &'static str,
        run: &RunId,
        rows: impl Iterator<Item = impl Serialize> + Send,
    ) -> Result<u64, Error> {
        let mut changed = 0;
        for array in arrays(rows) {
            let query = sqlx::query(sql).bind(run.as_str()).bind(array?);
            changed += query.execute(&mut *self.connection).await?.rows_affected();
        }
        Ok(changed)
    }

    /// As `many`, for statements that take one more number.
    async fn many_with(
        &mut self,
        (sql, number): (&'static str, i64),
        run: &RunId,
        rows: impl Iterator<Item = impl Serialize> + Send,
    ) -> Result<(), Error> {
        for array in arrays(rows) {
            let query = sqlx::query(sql)
                .bind(run.as_str())
                .bind(array?)
                .bind(number);
            query.execute(&mut *self.connection).await?;
        }
        Ok(())
    }
}

/// Rows as JSON arrays that a statement reads with `json_each`; none if there are no rows.
fn arrays(
    mut rows: impl Iterator<Item = impl Serialize>,
) -> impl Iterator<Item = Result<String, serde_json::Error>> {
    std::iter::from_fn(move || array(&mut rows).transpose())
}

fn array(
    rows: &mut impl Iterator<Item = impl Serialize>,
) -> Result<Option<String>, serde_json::Error> {
    let mut array = String::new();
    for row in rows {
        array.push(if array.is_empty() { '[' } else { ',' });
        array.push_str(&serde_json::to_string(&row)?);
        if array.len() >= ARRAY_BYTES {
            break;
        }
    }
    if array.is_empty() {
        return Ok(None);
    }
    array.push(']');
    Ok(Some(array))
}

fn optional(value: Option<&impl Serialize>) -> Result<Option<String>, serde_json::Error> {
    value.map(serde_json::to_string).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: &[String]) -> Vec<usize> {
        let arrays = arrays(rows.iter()).map(|array| serde_json::from_str(&array.unwrap()));
        arrays
            .map(|rows: Result<Vec<String>, _>| rows.unwrap().len())
            .collect()
    }

    #[test]
    fn rows_go_into_as_many_arrays_as_they_need() {
        let long = "x".repeat(ARRAY_BYTES / 2);
        assert_eq!(split(&[]), [0; 0]);
        assert_eq!(split(&["a".to_owned(), "b".to_owned()]), [2]);
        assert_eq!(split(&vec![long; 5]), [2, 2, 1]);
    }
}
