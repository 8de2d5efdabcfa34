//! Rows of a transaction, written by one statement.
//!
//! A statement of its own for each table would be nine round trips, which took as long as the writing. Its parts see
//! the database as it was before all of them, so none may need what another one writes. The first parts ask whether
//! what the others were prepared on is so, and take the locks that keep it so: with them the statement is all of
//! a transaction.

use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::StoredArtifact;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, StepStatus};
use telecine_engine::store::{Premises, StoreError};

use super::columns::{
    Closed, Columns, Ended, Events, Grounds, Headers, KeyParts, NewRuns, Objects, Opened,
    StepColumns,
};
use super::{Placed, each};
use crate::error::Error;
use crate::rows::count;

/// The statement, with what was bound to it so far.
pub(super) type Save = Query<'static, Postgres, PgArguments>;

/// Statements that are always parts together, by what they are called.
type Group = &'static [(&'static str, &'static str)];

const PREMISES: usize = 0;
const OLD_STEPS: usize = 3;

/// The parts, in the order in which they are bound: what was prepared on must be so, and then [`Rows`].
const GROUPS: [Group; 11] = [
    &[
        ("live", include_str!("../sql/live_sessions.sql")),
        REMEMBERED,
        TAKEN,
        ("admitted", include_str!("../sql/admitted.sql")),
        ("locked", include_str!("../sql/lock_runs_at.sql")),
        ("premises", include_str!("../sql/premises.sql")),
    ],
    &[("new_runs", include_str!("../sql/create_runs.sql"))],
    &[("old_runs", include_str!("../sql/save_runs.sql"))],
    &[("old_steps", include_str!("../sql/update_steps.sql"))],
    &[("new_steps", include_str!("../sql/save_steps.sql"))],
    &[("closed", include_str!("../sql/close_steps.sql"))],
    &[("opened", include_str!("../sql/open_steps.sql"))],
    &[("ended", include_str!("../sql/end_attempts.sql"))],
    &[
        ("events", include_str!("../sql/save_events.sql")),
        ("told", include_str!("../sql/save_feed.sql")),
    ],
    &[("objects", include_str!("../sql/save_artifacts.sql"))],
    &[("key_parts", include_str!("../sql/save_made.sql"))],
];

const REMEMBERED: (&str, &str) = ("remembered", include_str!("../sql/remember_requests.sql"));
const TAKEN: (&str, &str) = ("taken", include_str!("../sql/take_requests.sql"));

/// Which of the groups have rows.
type Used = [bool; GROUPS.len()];

/// All that there can be, each made when it is first used. Postgres takes its time for each part that it runs,
/// also without rows.
static STATEMENTS: [OnceLock<String>; 1 << GROUPS.len()] =
    [const { OnceLock::new() }; 1 << GROUPS.len()];

/// What others refer to although it is left out.
const fn left_out(group: usize) -> Group {
    match group {
        PREMISES => &[("premises", "select true as hold")],
        OLD_STEPS => &[("old_steps", "select 1 where false")],
        _ => &[],
    }
}

/// The groups that have rows as one; it answers how many old steps there were, and the time.
fn statement(used: Used) -> &'static str {
    let number = used
        .iter()
        .fold(0, |bits, used| bits << 1 | usize::from(*used));
    STATEMENTS[number].get_or_init(|| {
        let groups = GROUPS.iter().zip(used).enumerate();
        let parts = groups.flat_map(|(number, (group, used))| match used {
            true => *group,
            false => left_out(number),
        });
        composed(
            &parts.copied().collect::<Vec<_>>(),
            include_str!("../sql/saved.sql"),
        )
    })
}

/// What takes requests without anything else; it answers the runs that have them.
pub(crate) static TAKE_REQUESTS: LazyLock<String> =
    LazyLock::new(|| composed(&[REMEMBERED, TAKEN], "select run from taken"));

/// Statements as parts of one; their parameters come one after the other.
fn composed(parts: &[(&str, &str)], last: &str) -> String {
    let mut bound = 0;
    let mut shift = |part| {
        let (part, parameters) = shifted(part, bound);
        bound += parameters;
        part
    };
    let parts = parts
        .iter()
        .map(|(name, part)| format!("{name} as (\n{})", shift(part)));
    let parts: Vec<_> = parts.collect();
    format!("with {}\n{}", parts.join(",\n"), shift(last))
}

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
    ended: Ended<'a>,
    events: Events<'a>,
    objects: Objects<'a>,
    key_parts: KeyParts<'a>,
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
        for (run, end) in each(changes, |changes| &changes.attempts) {
            rows.ended.push(run, end)?;
        }
        for (run, changes) in changes {
            rows.events
                .push(run, (changes.first_event, &changes.events))?;
        }
        for (run, (step, artifacts)) in each(changes, |changes| &changes.artifacts) {
            rows.objects.push(run, (step, artifacts));
        }
        for (run, (step, made)) in each(changes, |changes| &changes.made) {
            rows.key_parts.push(run, (step, made))?;
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

    /// Objects of a step and nothing else.
    pub(super) fn of_objects(
        run: &'a RunId,
        (step, artifacts): (&'a StepId, &'a [StoredArtifact]),
    ) -> Self {
        let mut rows = Self::default();
        rows.objects.push(run, (step, artifacts));
        rows
    }

    /// An event and nothing else.
    pub(super) fn of_event(
        run: &'a RunId,
        (number, event): (u64, &'a Event),
    ) -> Result<Self, Error> {
        let mut rows = Self::default();
        rows.events
            .push(run, (number, std::slice::from_ref(event)))?;
        Ok(rows)
    }

    /// Writes them in a transaction that has all locks that it needs; answers how many of the old steps there were.
    pub(super) async fn write(
        self,
        db: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let none = Premises {
            now,
            ..Premises::default()
        };
        let saved = self.save(db, (&none, -1)).await?;
        Ok(saved.try_get::<i64, _>("old_steps")?.unsigned_abs())
    }

    /// Writes them if the premises hold and all of the old steps are there; answers the time.
    pub(super) async fn write_if(
        self,
        db: &mut PgConnection,
        premises: &Premises,
    ) -> Result<DateTime<Utc>, Error> {
        let old_steps = self.old_steps.len() as u64;
        let saved = self.save(db, (premises, count(old_steps))).await?;
        Ok(saved.try_get("at")?)
    }

    async fn save(
        self,
        db: &mut PgConnection,
        (premises, old_steps): (&Premises, i64),
    ) -> Result<PgRow, Error> {
        let columns: [Box<dyn Columns + '_>; GROUPS.len()] = [
            Box::new(Grounds::of(premises)),
            Box::new(self.new_runs),
            Box::new(self.old_runs),
            Box::new(self.old_steps),
            Box::new(self.new_steps),
            Box::new(self.closed),
            Box::new(self.opened),
            Box::new(self.ended),
            Box::new(self.events),
            Box::new(self.objects),
            Box::new(self.key_parts),
        ];
        let used = columns.each_ref().map(|columns| columns.len() > 0);
        let mut save = sqlx::query(statement(used));
        for (columns, _) in columns.into_iter().zip(used).filter(|(_, used)| *used) {
            save = columns.bind(save, premises.now);
        }
        Ok(save.bind(old_steps).fetch_one(db).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_parts_come_one_after_the_other() {
        let parts = [("a", "select $1, $2"), ("b", "select $1")];
        let expected = "with a as (\nselect $1, $2),\nb as (\nselect $3)\nselect $4";
        assert_eq!(composed(&parts, "select $1"), expected);
    }

    #[test]
    fn parameters_of_a_part_come_behind_those_of_the_parts_before() {
        let part = "select $1, $2::text[] from t where a = $10 or b = $2";
        let expected = "select $8, $9::text[] from t where a = $17 or b = $9";
        assert_eq!(shifted(part, 7), (expected.to_owned(), 10));
        assert_eq!(shifted("select 1", 7), ("select 1".to_owned(), 0));
    }
}
