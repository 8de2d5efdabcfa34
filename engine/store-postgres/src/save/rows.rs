//! Rows of a transaction, written by one statement.
//!
//! A statement of its own for each table would be nine round trips, which took as long as the writing. Its parts see
//! the database as it was before all of them, so none may need what another one writes.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use telecine_engine::id::RunId;
use telecine_engine::machine::Changes;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, StepStatus};
use telecine_engine::store::StoreError;

use super::columns::{Closed, Ended, Events, Headers, NewRuns, Opened, Started, StepColumns};
use super::{Placed, each, numbered};
use crate::error::Error;

/// The statement, with what was bound to it so far.
pub(super) type Save = Query<'static, Postgres, PgArguments>;

/// What the parts are called, and their statements: those of [`Rows`], in the same order.
const PARTS: [(&str, &str); 10] = [
    ("new_runs", include_str!("../sql/create_runs.sql")),
    ("old_runs", include_str!("../sql/save_runs.sql")),
    ("old_steps", include_str!("../sql/update_steps.sql")),
    ("new_steps", include_str!("../sql/save_steps.sql")),
    ("closed", include_str!("../sql/close_steps.sql")),
    ("opened", include_str!("../sql/open_steps.sql")),
    ("started", include_str!("../sql/start_attempts.sql")),
    ("ended", include_str!("../sql/end_attempts.sql")),
    ("events", include_str!("../sql/save_events.sql")),
    ("told", include_str!("../sql/save_feed.sql")),
];

/// All parts as one; it answers how many old steps there were.
static STATEMENT: LazyLock<String> = LazyLock::new(|| {
    let mut bound = 0;
    let parts = PARTS.map(|(name, part)| {
        let (part, parameters) = shifted(part, bound);
        bound += parameters;
        format!("{name} as (\n{part})")
    });
    format!("with {}\nselect count(*) from old_steps", parts.join(",\n"))
});

/// A statement whose parameters come behind so many others, and how many it has.
fn shifted(statement: &str, by: usize) -> (String, usize) {
    let mut pieces = statement.split('$');
    let mut shifted = pieces.next().unwrap_or_default().to_owned();
    let mut most = 0;
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit());
        let (number, rest) = piece.split_at(end.unwrap_or(piece.len()));
        let number: usize = number.parse().unwrap_or_default();
        most = most.max(number);
        shifted += &format!("${}{rest}", by + number);
    }
    (shifted, most)
}

#[derive(Default)]
pub(super) struct Rows<'a> {
    new_runs: NewRuns<'a>,
    old_runs: Headers<'a>,
    /// Steps that have been written before.
    pub(super) old_steps: StepColumns<'a>,
    pub(super) new_steps: StepColumns<'a>,
    closed: Closed<'a>,
    opened: Opened<'a>,
    started: Started<'a>,
    ended: Ended<'a>,
    events: Events<'a>,
}

impl<'a> Rows<'a> {
    /// Everything but the steps.
    pub(super) fn of(changes: &'a [(RunId, Changes)]) -> Result<Self, Error> {
        let mut rows = Self::default();
        for (id, changes) in changes {
            let run = changes.run.as_ref();
            let run = run.ok_or_else(|| StoreError::NoRun(id.clone()))?;
            match changes.created {
                true => rows.new_runs.push(run, changes)?,
                false => rows.old_runs.push(run, changes)?,
            }
        }
        for (run, start) in each(changes, |changes| &changes.started) {
            rows.started.push(run, start);
        }
        for (run, end) in each(changes, |changes| &changes.attempts) {
            rows.ended.push(run, end)?;
        }
        for event in numbered(changes) {
            rows.events.push(event)?;
        }
        Ok(rows)
    }

    /// Steps that can be claimed from now on, and those that cannot any more.
    pub(super) fn wait(
        &mut self,
        steps: &'a [Placed<'a>],
        tickets: &'a Tickets<'a>,
    ) -> Result<(), Error> {
        for placed in steps {
            let Placed { run, step, .. } = placed;
            match step.status {
                StepStatus::Ready => {
                    let ticket = tickets.get(run, step).ok_or_else(|| {
                        let why = format!("{run}: {} waits without a ticket", step.id);
                        StoreError::Corrupt(why)
                    })?;
                    self.opened.push(placed, ticket);
                }
                _ if placed.waited => self.closed.push(placed),
                _ => {}
            }
        }
        Ok(())
    }

    /// An event and nothing else.
    pub(super) fn of_event(event: (&'a RunId, i64, &'a Event)) -> Result<Self, Error> {
        let mut rows = Self::default();
        rows.events.push(event)?;
        Ok(rows)
    }

    /// Writes them; answers how many of the old steps there were.
    pub(super) async fn write(
        self,
        db: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let save = sqlx::query(STATEMENT.as_str());
        let save = self.new_runs.bind(save);
        let save = self.old_runs.bind(save);
        let save = self.old_steps.bind(save);
        let save = self.new_steps.bind(save);
        let save = self.closed.bind(save);
        let save = self.opened.bind(save);
        let save = self.started.bind(save, now);
        let save = self.ended.bind(save, now);
        let save = self.events.bind(save, now);
        let there: i64 = save.fetch_one(db).await?.try_get(0)?;
        Ok(there.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_part_come_behind_those_of_the_parts_before() {
        let part = "select $1, $2::text[] from t where a = $10 or b = $2";
        let expected = "select $8, $9::text[] from t where a = $17 or b = $9";
        assert_eq!(shifted(part, 7), (expected.to_owned(), 10));
        assert_eq!(shifted("select 1", 7), ("select 1".to_owned(), 0));
    }
}
