//! Rows as the engine's types, and the engine's types as rows.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::store::rows::{Cells, Row, SINGLE};

use crate::error::Error;

/// The item of a step as it is stored.
pub(crate) fn item(step: &StepId) -> i32 {
    step.item.map_or(SINGLE, narrow_count)
}

/// A count as it is stored. Nothing counts further than 63 bits.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A small count as it is stored.
pub(crate) fn narrow_count(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A duration that means for ever: a century.
const ENDLESS: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A duration as it is sent, in microseconds; the server's times end in the year 294276.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(ENDLESS).as_micros()).unwrap_or(i64::MAX)
}

/// Text as Postgres takes it, which knows no NUL.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Keys of steps, as arrays that a statement unnests side by side.
#[derive(Default)]
pub(crate) struct StepKeys<'a> {
    pub(crate) runs: Vec<&'a str>,
    pub(crate) nodes: Vec<&'a str>,
    pub(crate) items: Vec<i32>,
}

impl<'a> StepKeys<'a> {
    pub(crate) fn push(&mut self, run: &'a RunId, step: &'a StepId) {
        self.runs.push(run.as_str());
        self.nodes.push(&step.node);
        self.items.push(item(step));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

impl<'a> FromIterator<(&'a RunId, &'a StepId)> for StepKeys<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a RunId, &'a StepId)>>(steps: I) -> Self {
        let mut keys = Self::default();
        for (run, step) in steps {
            keys.push(run, step);
        }
        keys
    }
}

/// A row of the engine, as it is here.
pub(crate) struct Columns<'r>(&'r PgRow);

/// A row as the engine's types.
pub(crate) fn cells(row: &PgRow) -> Cells<Columns<'_>> {
    Cells(Columns(row))
}

impl Columns<'_> {
    /// Whether something is so.
    pub(crate) fn flag(&self, column: &str) -> Result<bool, Error> {
        Ok(self.0.try_get(column)?)
    }
}

impl Row for Columns<'_> {
    type Error = Error;

    fn text(&self, column: &str) -> Result<Option<&str>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn integer(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn small(&self, column: &str) -> Result<Option<i32>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn real(&self, column: &str) -> Result<Option<f64>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.0.try_get(column)?)
    }
}
