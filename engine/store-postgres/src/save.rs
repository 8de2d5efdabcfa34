//! What the machine changed, as rows: a statement writes those of all runs of a transaction, over one array per
//! column, and what is written by nearly every transaction is [one statement](rows).

mod columns;
mod rows;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::StoredArtifact;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, Node, Step};
use telecine_engine::store::{Premises, StoreError};

pub(crate) use self::columns::Admissions;
use self::columns::StepColumns;
use self::rows::Rows;
pub(crate) use self::rows::TAKE_REQUESTS;
use crate::error::Error;
use crate::rows::{StepKeys, clean};

/// Steps written by one statement; bounds the memory it takes to write 100,000 with 64 KiB each.
const STEPS_AT_ONCE: usize = 5_000;

/// Where and when rows are written.
pub(crate) struct Writing<'c> {
    pub(crate) connection: &'c mut PgConnection,
    pub(crate) now: DateTime<Utc>,
}

/// A step about to be written.
struct Placed<'a> {
    run: &'a RunId,
    /// Of its node.
    place: i32,
    step: &'a Step,
    /// Its run is.
    is_new: bool,
    /// It could be claimed before.
    waited: bool,
}

impl Placed<'_> {
    /// Whether it has been written before, as far as it shows. A step without an item is there from the
    /// beginning of its run, unless a plan adds one.
    fn is_known(&self) -> bool {
        !self.is_new && (self.step.id.item.is_none() || self.step.attempts > 0)
    }
}

impl Writing<'_> {
    /// Writes what was folded into runs. Removals come first, so that what is made anew stays.
    pub(crate) async fn changes(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        for (run, changes) in changes {
            self.collapse(run, &changes.collapsed).await?;
        }
        let forgotten = each(changes, |changes| &changes.forgotten);
        self.forget(&forgotten.collect()).await?;
        self.amended(changes).await?;
        self.clear(changes).await?;
        self.rows(changes).await?;
        for (run, changes) in changes {
            self.untouched(run, &changes.untouched).await?;
        }
        self.share(changes).await
    }

    /// Writes what was folded into runs as all of a transaction, if the premises hold; answers the time. Only of
    /// [plain](is_plain) changes.
    pub(crate) async fn changes_if(
        &mut self,
        premises: &Premises,
        changes: &[(RunId, Changes)],
    ) -> Result<DateTime<Utc>, Error> {
        let steps = placed(changes)?;
        let tickets = Tickets::of(changes);
        let mut rows = Rows::of(changes)?;
        rows.wait(&steps, &tickets)?;
        let (old, new): (Vec<_>, Vec<_>) = steps.iter().partition(|placed| placed.is_known());
        let nothing = HashMap::new();
        rows.old_steps = StepColumns::of(&old, &nothing)?;
        rows.new_steps = StepColumns::of(&new, &nothing)?;
        rows.write_if(self.connection, premises).await
    }

    async fn collapse(&mut self, run: &RunId, nodes: &[String]) -> Result<(), Error> {
        if nodes.is_empty() {
            return Ok(());
        }
        for sql in [
            "delete from ready where run = $1 and node = any($2)",
            "delete from checkpoint where run = $1 and node = any($2)",
            "delete from checkpoint_growth where run = $1 and node = any($2)",
            "delete from artifact where run = $1 and node = any($2)",
            "delete from made where run = $1 and node = any($2)",
            "delete from step where run = $1 and node = any($2)",
        ] {
            sqlx::query(sql)
                .bind(run.as_str())
                .bind(nodes)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Drops the checkpoints and artifacts of steps: they no longer count.
    pub(crate) async fn forget(&mut self, steps: &StepKeys<'_>) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        for sql in [
            include_str!("sql/forget_checkpoints.sql"),
            include_str!("sql/forget_growths.sql"),
            include_str!("sql/forget_artifacts.sql"),
        ] {
            sqlx::query(sql)
                .bind(&steps.runs)
                .bind(&steps.nodes)
                .bind(&steps.items)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Forgets the progress of steps, and what their reuse keys were made of.
    async fn clear(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let keys: StepKeys<'_> = each(changes, |changes| &changes.cleared).collect();
        if keys.is_empty() {
            return Ok(());
        }
        for sql in [
            include_str!("sql/clear_progress.sql"),
            include_str!("sql/forget_made.sql"),
        ] {
            sqlx::query(sql)
                .bind(&keys.runs)
                .bind(&keys.nodes)
                .bind(&keys.items)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Writes runs, steps, attempts, events, objects and what reuse keys are made of. Most steps that are written are there already: those are
    /// updated, which costs half of an upsert. If one turns out to be new after all, the upsert puts all of them
    /// right.
    async fn rows(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let steps = placed(changes)?;
        let made_before = self.made_before(&steps).await?;
        let tickets = Tickets::of(changes);
        let mut rows = Rows::of(changes)?;
        rows.wait(&steps, &tickets)?;
        let (old, new): (Vec<_>, Vec<_>) = steps.iter().partition(|placed| placed.is_known());
        let (mut old, mut new) = (old.chunks(STEPS_AT_ONCE), new.chunks(STEPS_AT_ONCE));
        let (mut some_old, mut some_new) = (old.next(), new.next());
        loop {
            let known = some_old.unwrap_or_default();
            rows.old_steps = StepColumns::of(known, &made_before)?;
            rows.new_steps = StepColumns::of(some_new.unwrap_or_default(), &made_before)?;
            if rows.write(self.connection, self.now).await? < known.len() as u64 {
                let mut again = Rows::default();
                again.new_steps = StepColumns::of(known, &made_before)?;
                again.write(self.connection, self.now).await?;
            }
            (some_old, some_new) = (old.next(), new.next());
            if some_old.is_none() && some_new.is_none() {
                return Ok(());
            }
            rows = Rows::default();
        }
    }

    /// Attempts of steps that are made anew under the name of an earlier one, whose numbers go on.
    async fn made_before(
        &mut self,
        steps: &[Placed<'_>],
    ) -> Result<HashMap<(String, String, i32), i32>, Error> {
        let keys: StepKeys<'_> = steps
            .iter()
            .filter(|it| is_made_anew(it.step))
            .map(|it| (it.run, &it.step.id))
            .collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(String, String, i32, i32)> =
            sqlx::query_as(include_str!("sql/made_before.sql"))
                .bind(&keys.runs)
                .bind(&keys.nodes)
                .bind(&keys.items)
                .fetch_all(&mut *self.connection)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(run, node, item, n)| ((run, node, item), n))
            .collect())
    }

    async fn untouched(&mut self, run: &RunId, nodes: &[Node]) -> Result<(), Error> {
        for node in nodes {
            sqlx::query(include_str!("sql/save_untouched.sql"))
                .bind(run.as_str())
                .bind(&node.name)
                .bind(node.status.as_str())
                .bind(node.reason.as_deref().map(clean).as_deref())
                .bind(self.now)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Records objects of a step.
    pub(crate) async fn artifacts(
        &mut self,
        run: &RunId,
        step: &StepId,
        artifacts: &[StoredArtifact],
    ) -> Result<(), Error> {
        if artifacts.is_empty() {
            return Ok(());
        }
        let rows = Rows::of_objects(run, (step, artifacts));
        rows.write(self.connection, self.now).await?;
        Ok(())
    }

    /// Appends an event of a run that is locked.
    pub(crate) async fn event(&mut self, run: &RunId, event: &Event) -> Result<(), Error> {
        let number = "update run set events = events + 1, revision = revision + 1 where id = $1 \
                      returning events";
        let number: i64 = sqlx::query_scalar(number)
            .bind(run.as_str())
            .fetch_one(&mut *self.connection)
            .await?;
        let rows = Rows::of_event(run, (number.unsigned_abs(), event))?;
        rows.write(self.connection, self.now).await?;
        Ok(())
    }
}

/// Whether changes are rows that [one statement](rows) writes and nothing else, and few enough for it.
pub(crate) fn is_plain(changes: &[(RunId, Changes)]) -> bool {
    let plain = |changes: &Changes| {
        let Changes {
            created: _,
            run: _,
            nodes: _,
            steps,
            waited: _,
            tickets: _,
            untouched,
            collapsed,
            forgotten,
            cleared,
            dropped,
            amendments,
            attempts: _,
            artifacts: _,
            made: _,
            shared,
            events: _,
            first_event: _,
            follow_ups: _,
        } = changes;
        let nothing_of = [
            untouched.is_empty(),
            collapsed.is_empty(),
            forgotten.is_empty(),
            cleared.is_empty(),
            dropped.is_empty(),
            amendments.is_none(),
            shared.is_empty(),
        ];
        nothing_of == [true; 7] && !steps.iter().any(is_made_anew)
    };
    let steps: usize = changes.iter().map(|(_, changes)| changes.steps.len()).sum();
    steps <= STEPS_AT_ONCE && changes.iter().all(|(_, changes)| plain(changes))
}

/// Whether the step may have had attempts under its name before, of which only the store knows.
fn is_made_anew(step: &Step) -> bool {
    step.round > 1 && step.attempts == 0
}

/// One kind of change of all runs, each with its run.
pub(crate) fn each<'a, T: 'a>(
    changes: &'a [(RunId, Changes)],
    part: impl Fn(&'a Changes) -> &'a [T],
) -> impl Iterator<Item = (&'a RunId, &'a T)> {
    changes
        .iter()
        .flat_map(move |(run, changes)| part(changes).iter().map(move |row| (run, row)))
}

fn json(value: Option<&impl serde::Serialize>) -> Result<Option<String>, serde_json::Error> {
    value.map(serde_json::to_string).transpose()
}

/// The steps of all runs with the places of their nodes.
fn placed(changes: &[(RunId, Changes)]) -> Result<Vec<Placed<'_>>, Error> {
    let mut placed = Vec::new();
    for (run, changes) in changes {
        for step in &changes.steps {
            let place = changes.place(&step.id.node);
            let place = place.and_then(|place| i32::try_from(place).ok());
            let place = place.ok_or_else(|| {
                StoreError::Corrupt(format!("{run} has no node for the step {}", step.id))
            })?;
            placed.push(Placed {
                run,
                place,
                step,
                is_new: changes.created,
                waited: changes.waited.contains(&step.id),
            });
        }
    }
    Ok(placed)
}
