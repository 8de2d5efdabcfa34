//! What the machine changed, as rows: one statement for each table, however many runs changed.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, StepStatus};
use telecine_engine::store::StoreError;

use crate::error::Error;
use crate::rows::{
    ArtifactCells, AttemptCells, EventCells, FullKey, HeaderCells, InputCells, NodeCells, NodeKey,
    Placed, ProgressCells, RunCells, StepCells, ToldCells,
};
use crate::script::{Script, Statement, over};
use crate::{amend, reuse};

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

/// What was folded into runs, as rows.
pub(crate) struct Rows<'a> {
    changes: &'a [(RunId, Changes)],
    steps: Vec<Placed<'a>>,
    tickets: Tickets<'a>,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(changes: &'a [(RunId, Changes)]) -> Result<Self, StoreError> {
        Ok(Self {
            changes,
            steps: placed(changes)?,
            tickets: Tickets::of(changes),
        })
    }

    /// The statements that write them. Removals come first, so that what is made anew stays.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let changes = self.changes;
        let collapsed = each(changes, |changes| &changes.collapsed);
        let collapsed = collapsed.map(|(run, node)| NodeKey::new(run, node));
        over(include_str!("sql/collapse_steps.sql"), collapsed)
            .chain(forget(each(changes, |changes| &changes.forgotten)))
            .chain(self.headers())
            .chain(amend::statements(changes))
            .chain(self.open_steps())
            .chain(self.attempts())
            .chain(self.artifacts())
            .chain(reuse::statements(changes))
            .chain(self.events())
    }

    /// Headers and nodes.
    fn headers(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let of = |created: bool| {
            let headers = self.changes.iter().filter_map(|(_, changes)| {
                let run = changes.run.as_ref()?;
                Some((run, changes))
            });
            headers.filter(move |(_, changes)| changes.created == created)
        };
        let new = of(true).map(|(run, changes)| RunCells::new(run, &changes.nodes));
        let changed = of(false).map(|(run, changes)| HeaderCells::new(run, &changes.nodes));
        over(include_str!("sql/create_runs.sql"), new)
            .chain(over(include_str!("sql/save_runs.sql"), changed))
    }

    /// Steps with their inputs and their progress.
    fn open_steps(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let cleared = keys(each(self.changes, |changes| &changes.cleared));
        let cells = self.steps.iter().map(|(run, position, step)| {
            let waits = step.status == StepStatus::Ready;
            let ticket = waits.then(|| self.tickets.get(run, step));
            StepCells::new((run, *position, step), ticket.flatten())
        });
        let inputs = self.steps.iter();
        let inputs = inputs.filter_map(|(run, _, step)| InputCells::of(run, step));
        let progress = self.steps.iter().filter_map(|(run, _, step)| {
            let progress = step.progress.as_ref()?;
            Some(ProgressCells::new(run, &step.id, progress))
        });
        let untouched = each(self.changes, |changes| &changes.untouched);
        let untouched = untouched.map(|(run, node)| NodeCells::new(run, node));
        over(include_str!("sql/forget_progress.sql"), cleared)
            .chain(over(include_str!("sql/save_steps.sql"), cells))
            .chain(over(include_str!("sql/save_inputs.sql"), inputs))
            .chain(over(include_str!("sql/save_progress.sql"), progress))
            .chain(over(include_str!("sql/save_untouched.sql"), untouched))
    }

    fn attempts(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let ends = each(self.changes, |changes| &changes.attempts);
        let ends = ends.map(|(run, end)| AttemptCells::new(run, end));
        over(include_str!("sql/end_attempts.sql"), ends)
    }

    /// Objects of the outputs of steps.
    fn artifacts(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let artifacts = each(self.changes, |changes| &changes.artifacts);
        let cells = artifacts.flat_map(|(run, (step, artifacts))| {
            artifacts.iter().map(move |artifact| ArtifactCells {
                step: FullKey::new(run, step),
                artifact,
            })
        });
        over(include_str!("sql/save_artifacts.sql"), cells)
    }

    /// Events, and what the feed says of them.
    fn events(&self) -> impl Iterator<Item = Result<Statement, Error>> + Send {
        let told = self.changes.iter().filter_map(|(run, changes)| {
            let events = Some(changes.events.len()).filter(|events| *events > 0)?;
            Some(ToldCells::new(run, changes.first_event, events))
        });
        let changes = self.changes.iter();
        let events = changes
            .flat_map(|(run, changes)| EventCells::of(run, changes.first_event, &changes.events));
        over(include_str!("sql/save_events.sql"), events)
            .chain(over(include_str!("sql/tell_feed.sql"), told))
    }
}

/// Drops checkpoints and artifacts of steps: they no longer count.
fn forget<'a>(
    steps: impl Iterator<Item = (&'a RunId, &'a StepId)> + Send + Clone + 'a,
) -> impl Iterator<Item = Result<Statement, Error>> + Send + 'a {
    let all = [
        include_str!("sql/forget_checkpoints.sql"),
        include_str!("sql/forget_growths.sql"),
        include_str!("sql/forget_checkpoint_objects.sql"),
        include_str!("sql/forget_artifacts.sql"),
    ];
    all.into_iter()
        .flat_map(move |sql| over(sql, keys(steps.clone())))
}

impl Writing<'_> {
    /// Writes what was folded into runs.
    pub(crate) async fn changes(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let rows = Rows::of(changes)?;
        self.run(rows.statements()).await
    }

    /// Drops checkpoints and artifacts of a step: they no longer count.
    pub(crate) async fn forget(&mut self, run: &RunId, step: &StepId) -> Result<(), Error> {
        self.run(forget(std::iter::once((run, step)))).await
    }

    /// Runs statements, as few times as it takes.
    async fn run(
        &mut self,
        statements: impl Iterator<Item = Result<Statement, Error>> + Send,
    ) -> Result<(), Error> {
        for script in Script::of(statements) {
            script?.run(self.connection, self.now).await?;
        }
        Ok(())
    }

    /// Writes the progress of steps.
    pub(crate) async fn save_progress(
        &mut self,
        progress: impl Iterator<Item = ProgressCells<'_>> + Send,
    ) -> Result<(), Error> {
        self.run(over(include_str!("sql/save_progress.sql"), progress))
            .await
    }

    /// Appends an event of an attempt.
    pub(crate) async fn event(&mut self, run: &RunId, event: &Event) -> Result<(), Error> {
        let number = "update run set events = events + 1, revision = revision + 1 where id = $1 \
                      returning events";
        let number: i64 = sqlx::query_scalar(number)
            .bind(run.as_str())
            .fetch_one(&mut *self.connection)
            .await?;
        let number = number.unsigned_abs();
        let cells = EventCells::of(run, number, std::slice::from_ref(event));
        let told = ToldCells::new(run, number, 1);
        let events = over(include_str!("sql/save_events.sql"), cells);
        let told = over(include_str!("sql/tell_feed.sql"), std::iter::once(told));
        self.run(events.chain(told)).await
    }
}

/// The steps of all runs with the places of their nodes.
fn placed(changes: &[(RunId, Changes)]) -> Result<Vec<Placed<'_>>, StoreError> {
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

/// Keys of steps as rows.
pub(crate) fn keys<'a>(
    steps: impl Iterator<Item = (&'a RunId, &'a StepId)> + Send,
) -> impl Iterator<Item = FullKey<'a>> + Send {
    steps.map(|(run, step)| FullKey::new(run, step))
}
