//! What the machine changed, as rows: one statement for each table, however many runs changed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, Step, StepStatus};
use telecine_engine::store::StoreError;

use crate::error::Error;
use crate::rows::{
    ArtifactCells, AttemptCells, EventCells, FullKey, HeaderCells, InputCells, NodeCells, NodeKey,
    ProgressCells, RunCells, StartCells, StepCells, ToldCells,
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
fn each<'a, T: Sync + 'a>(
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
        let steps: Vec<_> = each(changes, |changes| &changes.steps).collect();
        let tickets = Tickets::of(changes);
        self.steps(&steps, &tickets).await?;
        self.begin_anew(&steps).await?;
        let untouched = each(changes, |changes| &changes.untouched);
        let untouched = untouched.map(|(run, node)| NodeCells::new(run, (node, None)));
        self.many_now(include_str!("sql/save_untouched.sql"), untouched)
            .await?;
        self.attempts(changes).await?;
        self.artifacts(changes).await?;
        let events = each(changes, |changes| &changes.events);
        self.events(events.map(|(run, event)| EventCells {
            run: run.as_str(),
            event,
        }))
        .await
    }

    /// Writes headers and nodes.
    async fn headers(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let (mut new, mut new_nodes) = (Vec::new(), Vec::new());
        let (mut changed, mut nodes) = (Vec::new(), Vec::new());
        for (run, changes) in changes {
            let header = changes.run.as_ref();
            if changes.created {
                new.extend(header.map(RunCells::from));
                let places = changes.nodes.iter().enumerate();
                let cells = |(place, node)| NodeCells::new(run, (node, Some(place)));
                new_nodes.extend(places.map(cells));
            } else {
                changed.extend(header.map(HeaderCells::from));
                let cells = |node| NodeCells::new(run, (node, None));
                nodes.extend(changes.nodes.iter().map(cells));
            }
        }
        self.many(include_str!("sql/create_runs.sql"), new.iter())
            .await?;
        self.many(include_str!("sql/create_nodes.sql"), new_nodes.iter())
            .await?;
        self.many(include_str!("sql/save_runs.sql"), changed.iter())
            .await?;
        self.many(include_str!("sql/save_nodes.sql"), nodes.iter())
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

    async fn steps(
        &mut self,
        steps: &[(&RunId, &Step)],
        tickets: &Tickets<'_>,
    ) -> Result<(), Error> {
        let cells = steps.iter().map(|(run, step)| {
            let waits = step.status == StepStatus::Ready;
            let ticket = waits.then(|| tickets.get(run, step));
            StepCells::new((run, step), ticket.flatten())
        });
        let written = self.many(include_str!("sql/save_steps.sql"), cells).await?;
        if written != steps.len() as u64 {
            let message = "a run has no node for some of the steps to be saved";
            return Err(StoreError::Corrupt(message.to_owned()).into());
        }
        let inputs = steps
            .iter()
            .filter_map(|(run, step)| InputCells::of(run, step));
        self.many(include_str!("sql/save_inputs.sql"), inputs)
            .await?;
        let progress = steps.iter().filter_map(|(run, step)| {
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

    /// Forgets the inputs and the progress of steps that have none any more.
    async fn begin_anew(&mut self, steps: &[(&RunId, &Step)]) -> Result<(), Error> {
        let inputs = steps.iter().filter(|(_, step)| step.input.is_none());
        let inputs = keys(inputs.map(|(run, step)| (*run, &step.id)));
        self.many(include_str!("sql/forget_inputs.sql"), inputs)
            .await?;
        // What was never claimed has none, and numbers of attempts never fall.
        let claimed = steps.iter().filter(|(_, step)| step.attempts > 0);
        let progress = claimed.filter(|(_, step)| step.progress.is_none());
        let progress = keys(progress.map(|(run, step)| (*run, &step.id)));
        self.many(include_str!("sql/forget_progress.sql"), progress)
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

    /// Appends an event of a run.
    pub(crate) async fn event(&mut self, run: &RunId, event: &Event) -> Result<(), Error> {
        self.events(std::iter::once(EventCells {
            run: run.as_str(),
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
            Some(last) if last.run == event.run => last.events += 1,
            _ => told.push(ToldCells {
                run: event.run,
                events: 1,
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
    async fn many(
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

/// Keys of steps as rows.
fn keys<'a>(
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
