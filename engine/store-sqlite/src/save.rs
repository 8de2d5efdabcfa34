//! What the machine changed, as rows: one statement for each table, however many runs changed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, StepStatus};
use telecine_engine::store::StoreError;

use crate::error::Error;
use crate::rows::{
    ArtifactCells, AttemptCells, EventCells, FullKey, HeaderCells, InputCells, NodeCells, NodeKey,
    Placed, ProgressCells, RunCells, StartCells, StepCells, ToldCells,
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

/// What belongs to runs that changed, each with its run.
pub(crate) fn each<'a, T: Sync + 'a>(
    changes: &'a [(RunId, Changes)],
    part: impl Fn(&'a Changes) -> &'a [T] + Send + Copy + 'a,
) -> impl Iterator<Item = (&'a RunId, &'a T)> + Send + Clone {
    changes
        .iter()
        .flat_map(move |(run, changes)| part(changes).iter().map(move |item| (run, item)))
}

impl Writing<'_> {
    /// Writes what was folded into runs. Removals come first, so that what is made anew stays.
    pub(crate) async fn changes(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let collapsed = each(changes, |changes| &changes.collapsed);
        let collapsed = collapsed.map(|(run, node)| NodeKey::new(run, node));
        self.many(include_str!("sql/collapse_steps.sql"), collapsed)
            .await?;
        let forgotten: Vec<_> = each(changes, |changes| &changes.forgotten).collect();
        self.forget(&forgotten).await?;
        self.headers(changes).await?;
        self.amended(changes).await?;
        self.clear(changes).await?;
        self.steps(&placed(changes)?, &Tickets::of(changes)).await?;
        let untouched = each(changes, |changes| &changes.untouched);
        let untouched = untouched.map(|(run, node)| NodeCells::new(run, node));
        self.many_now(include_str!("sql/save_untouched.sql"), untouched)
            .await?;
        self.attempts(changes).await?;
        self.artifacts(changes).await?;
        self.reuse(changes).await?;
        self.events(numbered(changes)).await
    }

    /// Writes headers and nodes.
    async fn headers(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (_, changes) in changes {
            let Some(run) = &changes.run else { continue };
            match changes.created {
                true => new.push(RunCells::new(run, &changes.nodes)),
                false => changed.push(HeaderCells::new(run, &changes.nodes)),
            }
        }
        self.many(include_str!("sql/create_runs.sql"), new.iter())
            .await?;
        self.many(include_str!("sql/save_runs.sql"), changed.iter())
            .await?;
        Ok(())
    }

    async fn attempts(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let starts = each(changes, |changes| &changes.started);
        let starts = starts.map(|(run, start)| StartCells::new(run, start));
        self.many_now(include_str!("sql/start_attempts.sql"), starts)
            .await?;
        let ends = each(changes, |changes| &changes.attempts);
        let ends = ends.map(|(run, end)| AttemptCells::new(run, end));
        self.many_now(include_str!("sql/save_attempts.sql"), ends)
            .await?;
        Ok(())
    }

    /// Drops checkpoints and artifacts of steps: they no longer count.
    pub(crate) async fn forget(&mut self, steps: &[(&RunId, &StepId)]) -> Result<(), Error> {
        for sql in [
            include_str!("sql/forget_checkpoints.sql"),
            include_str!("sql/forget_growths.sql"),
            include_str!("sql/forget_checkpoint_objects.sql"),
            include_str!("sql/forget_artifacts.sql"),
        ] {
            self.many(sql, keys(steps.iter().copied())).await?;
        }
        Ok(())
    }

    async fn steps(&mut self, steps: &[Placed<'_>], tickets: &Tickets<'_>) -> Result<(), Error> {
        let cells = steps.iter().map(|(run, position, step)| {
            let waits = step.status == StepStatus::Ready;
            let ticket = waits.then(|| tickets.get(run, step));
            StepCells::new((run, *position, step), ticket.flatten())
        });
        self.many(include_str!("sql/save_steps.sql"), cells).await?;
        let inputs = steps
            .iter()
            .filter_map(|(run, _, step)| InputCells::of(run, step));
        self.many(include_str!("sql/save_inputs.sql"), inputs)
            .await?;
        let progress = steps.iter().filter_map(|(run, _, step)| {
            let progress = step.progress.as_ref()?;
            Some(ProgressCells::new(run, &step.id, progress))
        });
        self.save_progress(progress).await
    }

    /// Writes the progress of steps.
    pub(crate) async fn save_progress(
        &mut self,
        progress: impl Iterator<Item = ProgressCells<'_>> + Send,
    ) -> Result<(), Error> {
        self.many(include_str!("sql/save_progress.sql"), progress)
            .await?;
        Ok(())
    }

    /// Forgets the progress of steps.
    async fn clear(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let cleared = each(changes, |changes| &changes.cleared);
        self.many(include_str!("sql/forget_progress.sql"), keys(cleared))
            .await?;
        Ok(())
    }

    /// Records objects of the outputs of steps.
    async fn artifacts(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let mut cells = Vec::new();
        for (run, (step, artifacts)) in each(changes, |changes| &changes.artifacts) {
            for artifact in artifacts {
                let step = FullKey::new(run, step);
                cells.push(ArtifactCells { step, artifact });
            }
        }
        self.many(include_str!("sql/save_artifacts.sql"), cells.iter())
            .await?;
        Ok(())
    }

    /// Appends an event of an attempt.
    pub(crate) async fn event(&mut self, run: &RunId, event: &Event) -> Result<(), Error> {
        let number = "update run set events = events + 1, revision = revision + 1 where id = $1 \
                      returning events";
        let number: i64 = sqlx::query_scalar(number)
            .bind(run.as_str())
            .fetch_one(&mut *self.connection)
            .await?;
        self.events(std::iter::once(EventCells {
            run: run.as_str(),
            seq: number.unsigned_abs(),
            event,
        }))
        .await
    }

    /// Appends events, and says in the feed which they are.
    async fn events(
        &mut self,
        events: impl Iterator<Item = EventCells<'_>> + Send,
    ) -> Result<(), Error> {
        let mut told: Vec<ToldCells<'_>> = Vec::new();
        let events = events.inspect(|event| match told.last_mut() {
            Some(told) if told.run == event.run => told.last = event.seq,
            _ => told.push(ToldCells {
                run: event.run,
                first: event.seq,
                last: event.seq,
            }),
        });
        self.many_now(include_str!("sql/save_events.sql"), events)
            .await?;
        self.many(include_str!("sql/tell_feed.sql"), told.iter())
            .await?;
        Ok(())
    }

    /// Runs a statement over arrays of rows; answers how many rows it changed. Without rows it is
    /// not run.
    pub(crate) async fn many(
        &mut self,
        sql: &'static str,
        rows: impl Iterator<Item = impl Serialize> + Send,
    ) -> Result<u64, Error> {
        let mut changed = 0;
        for array in arrays(rows) {
            let query = sqlx::query(sql).bind(array?);
            changed += query.execute(&mut *self.connection).await?.rows_affected();
        }
        Ok(changed)
    }

    /// As `many`, for statements that take the time as well.
    async fn many_now(
        &mut self,
        sql: &'static str,
        rows: impl Iterator<Item = impl Serialize> + Send,
    ) -> Result<(), Error> {
        let now = self.now.timestamp_millis();
        for array in arrays(rows) {
            let query = sqlx::query(sql).bind(array?).bind(now);
            query.execute(&mut *self.connection).await?;
        }
        Ok(())
    }
}

/// The steps of all runs with the places of their nodes.
fn placed(changes: &[(RunId, Changes)]) -> Result<Vec<Placed<'_>>, Error> {
    let mut placed = Vec::new();
    for (run, changes) in changes {
        for step in &changes.steps {
            let place = changes.place(&step.id.node).ok_or_else(|| {
                StoreError::Corrupt(format!("{run} has no node for the step {}", step.id))
            })?;
            placed.push((run, place, step));
        }
    }
    Ok(placed)
}

/// The events of all runs with their numbers.
fn numbered(changes: &[(RunId, Changes)]) -> impl Iterator<Item = EventCells<'_>> + Send {
    changes.iter().flat_map(|(run, changes)| {
        let numbers = changes.first_event..;
        let events = numbers.zip(&changes.events);
        events.map(|(seq, event)| EventCells {
            run: run.as_str(),
            seq,
            event,
        })
    })
}

/// Keys of steps as rows.
pub(crate) fn keys<'a>(
    steps: impl Iterator<Item = (&'a RunId, &'a StepId)> + Send,
) -> impl Iterator<Item = FullKey<'a>> + Send {
    steps.map(|(run, step)| FullKey::new(run, step))
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
    let mut array = Vec::new();
    for row in rows {
        array.push(if array.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut array, &row)?;
        if array.len() >= ARRAY_BYTES {
            break;
        }
    }
    if array.is_empty() {
        return Ok(None);
    }
    array.push(b']');
    Ok(Some(String::from_utf8_lossy(&array).into_owned()))
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
