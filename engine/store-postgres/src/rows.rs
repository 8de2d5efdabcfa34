//! Rows as the engine's types, and the engine's types as rows.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use telecine_engine::activity::{Checkpoint, MediaSpan, Usage};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::objects::Artifact;
use telecine_engine::queue::{Kind, Queue, Ticket, Waiting};
use telecine_engine::run::{
    Attempt, AttemptOutcome, CheckpointHead, Event, RecordedEvent, Run, RunStatus, Step,
    StepStatus, StoreUrls,
};
use telecine_engine::store::{Fence, StoreError};

use crate::error::Error;

/// What stands for "no item": the only step of a node without `for_each`.
const SINGLE: i32 = -1;

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

/// A row, read by the names of its columns.
pub(crate) struct Cells<'r>(pub(crate) &'r PgRow);

impl Cells<'_> {
    pub(crate) fn text(&self, column: &str) -> Result<String, Error> {
        Ok(self.0.try_get(column)?)
    }

    /// A number of the column type `integer`.
    pub(crate) fn small<T: TryFrom<i32>>(&self, column: &str) -> Result<T, Error> {
        let number: i32 = self.0.try_get(column)?;
        T::try_from(number).map_err(|_| unknown(column, &number.to_string()))
    }

    /// A number of the column type `bigint`.
    pub(crate) fn number(&self, column: &str) -> Result<u64, Error> {
        let number: i64 = self.0.try_get(column)?;
        u64::try_from(number).map_err(|_| unknown(column, &number.to_string()))
    }

    pub(crate) fn optional_number(&self, column: &str) -> Result<Option<u64>, Error> {
        let number: Option<i64> = self.0.try_get(column)?;
        let narrow =
            |number: i64| u64::try_from(number).map_err(|_| unknown(column, &number.to_string()));
        number.map(narrow).transpose()
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, Error> {
        Ok(self.0.try_get(column)?)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Error> {
        Ok(serde_json::from_str(self.0.try_get(column)?)?)
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, Error> {
        let text: Option<&str> = self.0.try_get(column)?;
        Ok(text.map(serde_json::from_str).transpose()?)
    }

    pub(crate) fn time(&self, column: &str) -> Result<DateTime<Utc>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn optional_time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.0.try_get(column)?)
    }

    /// A name of a closed list.
    fn name<T>(&self, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
        let text: &str = self.0.try_get(column)?;
        parse(text).ok_or_else(|| unknown(column, text))
    }

    pub(crate) fn run_id(&self) -> Result<RunId, Error> {
        Ok(self.text("run")?.into())
    }

    /// How long a list is whose last item a column names, which may be none.
    pub(crate) fn item_count(&self, column: &str) -> Result<u32, Error> {
        let last: Option<i32> = self.0.try_get(column)?;
        Ok(u32::try_from(last.unwrap_or(SINGLE) + 1).unwrap_or_default())
    }

    /// A count of the column type `integer`, which may be none.
    pub(crate) fn optional_count(&self, column: &str) -> Result<Option<usize>, Error> {
        let count: Option<i32> = self.0.try_get(column)?;
        Ok(count.and_then(|count| usize::try_from(count).ok()))
    }

    pub(crate) fn step_id(&self) -> Result<StepId, Error> {
        let item: i32 = self.0.try_get("item")?;
        Ok(StepId {
            node: self.text("node")?,
            item: u32::try_from(item).ok(),
        })
    }

    pub(crate) fn fence(&self) -> Result<Fence, Error> {
        Ok(Fence {
            run: self.run_id()?,
            step: self.step_id()?,
            fence: self.number("fence")?,
        })
    }

    fn covers(&self) -> Result<Option<MediaSpan>, Error> {
        let from: Option<f64> = self.0.try_get("covers_from")?;
        let to: Option<f64> = self.0.try_get("covers_to")?;
        let both = from.zip(to);
        Ok(both.map(|(from_s, to_s)| MediaSpan { from_s, to_s }))
    }

    fn usage(&self) -> Result<Option<Usage>, Error> {
        let cpu: Option<f64> = self.0.try_get("cpu_s")?;
        let memory = self.optional_number("max_rss_bytes")?;
        Ok(cpu.zip(memory).map(|(cpu_s, max_rss_bytes)| Usage {
            cpu_s,
            max_rss_bytes,
        }))
    }

    pub(crate) fn run(&self) -> Result<Run, Error> {
        Ok(Run {
            id: self.text("id")?.into(),
            workflow: self.text("workflow")?,
            version: self.small("version")?,
            definition: self.text("definition")?,
            status: self.name("status", RunStatus::parse)?,
            round: self.small("round")?,
            revision: self.number("revision")?,
            events: self.number("events")?,
            input: self.json("input")?,
            fingerprint: self.text("fingerprint")?,
            stores: StoreUrls {
                source: self.text("source_store")?,
                media: self.text("media_store")?,
            },
            queue: self.name("queue", Queue::parse)?,
            priority: self.small("priority")?,
            labels: self.json("labels")?,
            output: self.optional_json("output")?,
            error: self.optional_json("error")?,
            created_at: self.time("created_at")?,
            started_at: self.optional_time("started_at")?,
            ended_at: self.optional_time("ended_at")?,
        })
    }

    pub(crate) fn step(&self) -> Result<Step, Error> {
        Ok(Step {
            id: self.step_id()?,
            activity: self.text("activity")?,
            status: self.name("status", StepStatus::parse)?,
            input: self.optional_json("input")?,
            output: self.optional_json("output")?,
            error: self.optional_json("error")?,
            reason: self.optional_text("reason")?,
            fence: self.number("fence")?,
            attempts: self.small("attempts")?,
            charged: self.small("charged")?,
            losses: self.small("losses")?,
            checkpoint_failures: self.small("checkpoint_failures")?,
            session: self.optional_text("session")?.map(Into::into),
            due_at: self.optional_time("due_at")?,
            deadline_at: self.optional_time("deadline_at")?,
            progress: self.optional_json("progress")?,
            checkpoint: self.checkpoint_head()?,
            warnings: self.json("warnings")?,
            round: self.small("round")?,
            started_at: self.optional_time("started_at")?,
            ended_at: self.optional_time("ended_at")?,
        })
    }

    fn checkpoint_head(&self) -> Result<Option<CheckpointHead>, Error> {
        let Some(seq) = self.optional_number("checkpoint_seq")? else {
            return Ok(None);
        };
        Ok(Some(CheckpointHead {
            seq,
            covers_s: self.covers()?,
            attempt: self.small("checkpoint_attempt")?,
        }))
    }

    /// `None` for one that only a newer release knows.
    pub(crate) fn kind(&self) -> Result<Option<Kind>, Error> {
        Ok(Kind::stored(self.0.try_get("kind")?))
    }

    /// `None` for a step of a kind that only a newer release knows.
    pub(crate) fn waiting(&self) -> Result<Option<Waiting>, Error> {
        let Some(kind) = self.kind()? else {
            return Ok(None);
        };
        Ok(Some(Waiting {
            run: self.run_id()?,
            step: self.step_id()?,
            position: self.small("position")?,
            ticket: Ticket {
                kind,
                rank: self.0.try_get("rank")?,
            },
        }))
    }

    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint {
            seq: self.number("seq")?,
            value: self.json("value")?,
            covers: self.covers()?,
            compat: self.text("compat")?,
        })
    }

    pub(crate) fn attempt(&self) -> Result<Attempt, Error> {
        let outcome = self.optional_text("outcome")?;
        let parse =
            |text: String| AttemptOutcome::parse(&text).ok_or_else(|| unknown("outcome", &text));
        Ok(Attempt {
            n: self.small("n")?,
            round: self.small("round")?,
            outcome: outcome.map(parse).transpose()?,
            worker: self.text("worker")?.into(),
            started_at: self.time("started_at")?,
            ended_at: self.optional_time("ended_at")?,
            usage: self.usage()?,
            resumed_from: self.optional_number("resumed_from")?,
            error: self.optional_json("error")?,
        })
    }

    pub(crate) fn artifact(&self) -> Result<Artifact, Error> {
        Ok(Artifact {
            key: self.text("key")?,
            size: self.number("size")?,
            sha256: self.text("sha256")?,
            media_type: self.text("media_type")?,
        })
    }

    pub(crate) fn event(&self) -> Result<RecordedEvent, Error> {
        let step = self.optional_text("step")?;
        Ok(RecordedEvent {
            seq: self.number("seq")?,
            at: self.time("at")?,
            event: Event {
                kind: self.text("kind")?,
                step: step
                    .map(|text| text.parse().map_err(|_| unknown("step", &text)))
                    .transpose()?,
                data: self.json("data")?,
            },
        })
    }
}

fn unknown(column: &str, value: &str) -> Error {
    StoreError::Corrupt(format!("column {column} has the value {value:?}")).into()
}
