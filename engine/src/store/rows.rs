//! Rows of a database as the engine's types, for every store that reads rows.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::{Fence, Generation, PlanHead, StoreError, ViewRows};
use crate::activity::{Checkpoint, MediaSpan, Usage};
use crate::id::{RunId, StepId};
use crate::objects::{Artifact, StoredArtifact};
use crate::queue::{Kind, Queue, Ticket, Waiting};
use crate::retry::plan::RetryPlan;
use crate::run::{
    Attempt, AttemptOutcome, CheckpointHead, Event, RecordedEvent, Run, RunStatus, Running, Step,
    StepStatus, StoreUrls,
};

/// What stands for "no item": the only step of a node without `for_each`.
pub const SINGLE: i32 = -1;

/// A row as a database gives it, read by the names of its columns. A cell is `None` where it is empty.
///
/// # Errors
/// If there is no such column, or it has another type.
pub trait Row {
    /// What goes wrong.
    type Error: From<StoreError> + From<serde_json::Error>;

    /// Text.
    fn text(&self, column: &str) -> Result<Option<&str>, Self::Error>;

    /// A number of 64 bits.
    fn integer(&self, column: &str) -> Result<Option<i64>, Self::Error>;

    /// A number of 32 bits, where columns of that type are told from those of 64.
    fn small(&self, column: &str) -> Result<Option<i32>, Self::Error>;

    /// A number with a fraction.
    fn real(&self, column: &str) -> Result<Option<f64>, Self::Error>;

    /// A time.
    fn time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Self::Error>;
}

/// The cells of a row as the engine's types. All fail as the row does, and with [`StoreError::Corrupt`] if
/// a value is missing or makes no sense.
#[derive(Debug, Clone, Copy)]
pub struct Cells<R>(pub R);

impl<R: Row> Cells<R> {
    fn needed<T>(&self, column: &str, cell: Option<T>) -> Result<T, R::Error> {
        let missing = || StoreError::Corrupt(format!("column {column} has no value"));
        cell.ok_or_else(|| missing().into())
    }

    /// Text.
    ///
    /// # Errors
    /// Those of the type.
    pub fn text(&self, column: &str) -> Result<String, R::Error> {
        let text = self.0.text(column)?;
        self.needed(column, text).map(str::to_owned)
    }

    /// Text that may be missing.
    ///
    /// # Errors
    /// Those of the type.
    pub fn optional_text(&self, column: &str) -> Result<Option<String>, R::Error> {
        Ok(self.0.text(column)?.map(str::to_owned))
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// Those of the type.
    pub fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, R::Error> {
        let number = self.optional_number(column)?;
        self.needed(column, number)
    }

    /// A number of 64 bits that may be missing.
    ///
    /// # Errors
    /// Those of the type.
    pub fn optional_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, R::Error> {
        let narrow = |number: i64| {
            let narrowed = T::try_from(number);
            narrowed.map_err(|_| unknown(column, &number.to_string()).into())
        };
        self.0.integer(column)?.map(narrow).transpose()
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// Those of the type.
    pub fn small<T: TryFrom<i32>>(&self, column: &str) -> Result<T, R::Error> {
        let number = self.0.small(column)?;
        let number = self.needed(column, number)?;
        T::try_from(number).map_err(|_| unknown(column, &number.to_string()).into())
    }

    /// A JSON document.
    ///
    /// # Errors
    /// Those of the type.
    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, R::Error> {
        let text = self.0.text(column)?;
        Ok(serde_json::from_str(self.needed(column, text)?)?)
    }

    /// A JSON document that may be missing.
    ///
    /// # Errors
    /// Those of the type.
    pub fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, R::Error> {
        let text = self.0.text(column)?;
        Ok(text.map(serde_json::from_str).transpose()?)
    }

    /// A time.
    ///
    /// # Errors
    /// Those of the type.
    pub fn time(&self, column: &str) -> Result<DateTime<Utc>, R::Error> {
        let time = self.0.time(column)?;
        self.needed(column, time)
    }

    /// A name of a closed list.
    fn name<T>(&self, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, R::Error> {
        let text = self.0.text(column)?;
        let text = self.needed(column, text)?;
        parse(text).ok_or_else(|| unknown(column, text).into())
    }

    /// How long a list is whose last item a column names, which may be none.
    ///
    /// # Errors
    /// Those of the type.
    pub fn item_count(&self, column: &str) -> Result<u32, R::Error> {
        let last = self.0.small(column)?.unwrap_or(SINGLE);
        Ok(u32::try_from(last + 1).unwrap_or_default())
    }

    /// The head of a plan, from its shortened body.
    ///
    /// # Errors
    /// Those of the type.
    pub fn plan_head(&self) -> Result<PlanHead, R::Error> {
        let head = PlanHead::of(RetryPlan {
            state: serde_json::from_value(self.text("state")?.into())?,
            ..self.json("body")?
        });
        let total = self.0.small("steps")?;
        let total = total.and_then(|total| usize::try_from(total).ok());
        Ok(PlanHead {
            total: total.unwrap_or(head.total),
            ..head
        })
    }

    /// A kind, and how many steps of it wait; `None` for one that only a newer release knows.
    ///
    /// # Errors
    /// Those of the type.
    pub fn backlog(&self) -> Result<Option<(Kind, u64)>, R::Error> {
        let Some(kind) = self.kind()? else {
            return Ok(None);
        };
        Ok(Some((kind, self.number("steps")?)))
    }

    /// A generation, beside the store of its run and when that ended.
    ///
    /// # Errors
    /// Those of the type.
    pub fn generation(&self) -> Result<Generation, R::Error> {
        Ok(Generation {
            name: self.text("name")?,
            n: self.number("n")?,
            run: self.run_id()?,
            store: self.text("media_store")?,
            keys: self.text("keys")?,
            ended_at: self.time("ended_at")?,
            published: self.number::<i64>("published")? > 0,
        })
    }

    /// The run in `run`.
    ///
    /// # Errors
    /// Those of the type.
    pub fn run_id(&self) -> Result<RunId, R::Error> {
        Ok(self.text("run")?.into())
    }

    /// The step in `node` and `item`.
    ///
    /// # Errors
    /// Those of the type.
    pub fn step_id(&self) -> Result<StepId, R::Error> {
        let item: i32 = self.small("item")?;
        Ok(StepId {
            node: self.text("node")?,
            item: u32::try_from(item).ok(),
        })
    }

    /// A step and its fence.
    ///
    /// # Errors
    /// Those of the type.
    pub fn fence(&self) -> Result<Fence, R::Error> {
        Ok(Fence {
            run: self.run_id()?,
            step: self.step_id()?,
            fence: self.number("fence")?,
        })
    }

    fn covers(&self) -> Result<Option<MediaSpan>, R::Error> {
        let both = self.0.real("covers_from")?.zip(self.0.real("covers_to")?);
        Ok(both.map(|(from_s, to_s)| MediaSpan { from_s, to_s }))
    }

    fn usage(&self) -> Result<Option<Usage>, R::Error> {
        let memory = self.optional_number("max_rss_bytes")?;
        let processors = self.0.small("processors")?;
        let processors = processors.and_then(|count| u32::try_from(count).ok());
        let both = self.0.real("cpu_s")?.zip(memory);
        Ok(both.map(|(cpu_s, max_rss_bytes)| Usage {
            cpu_s,
            max_rss_bytes,
            processors,
        }))
    }

    /// The header of a run.
    ///
    /// # Errors
    /// Those of the type.
    pub fn run(&self) -> Result<Run, R::Error> {
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
            started_at: self.0.time("started_at")?,
            ended_at: self.0.time("ended_at")?,
        })
    }

    /// A run as the machine sees it, without its steps.
    ///
    /// # Errors
    /// Those of the type.
    pub fn view(&self) -> Result<ViewRows, R::Error> {
        Ok(ViewRows {
            run: self.run()?,
            nodes: self.json("nodes")?,
            amendments: self.optional_json("amendments")?.unwrap_or_default(),
        })
    }

    /// A step.
    ///
    /// # Errors
    /// Those of the type.
    pub fn step(&self) -> Result<Step, R::Error> {
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
            outages: self.small("outages")?,
            checkpoint_failures: self.small("checkpoint_failures")?,
            running: self.running()?.map(Box::new),
            due_at: self.0.time("due_at")?,
            deadline_at: self.0.time("deadline_at")?,
            progress: self.optional_json("progress")?,
            checkpoint: self.checkpoint_head()?.map(Box::new),
            warnings: self.json("warnings")?,
            round: self.small("round")?,
            started_at: self.0.time("started_at")?,
            ended_at: self.0.time("ended_at")?,
        })
    }

    fn running(&self) -> Result<Option<Running>, R::Error> {
        let Some(session) = self.optional_text("session")? else {
            return Ok(None);
        };
        // A release before this one left no time: it wrote a row when an attempt began, which is read in place of this.
        let claimed_at = self.0.time("claimed_at")?;
        let claimed_at = claimed_at.map_or_else(|| self.time("started_at"), Ok)?;
        Ok(Some(Running {
            session: session.into(),
            claimed_at,
            resumed_from: self.optional_number("resumed_from")?,
        }))
    }

    fn checkpoint_head(&self) -> Result<Option<CheckpointHead>, R::Error> {
        let Some(seq) = self.optional_number("checkpoint_seq")? else {
            return Ok(None);
        };
        Ok(Some(CheckpointHead {
            seq,
            covers_s: self.covers()?,
            attempt: self.small("checkpoint_attempt")?,
        }))
    }

    /// A checkpoint.
    ///
    /// # Errors
    /// Those of the type.
    pub fn checkpoint(&self) -> Result<Checkpoint, R::Error> {
        Ok(Checkpoint {
            seq: self.number("seq")?,
            value: self.json("value")?,
            covers: self.covers()?,
            compat: self.text("compat")?,
        })
    }

    /// The kind of a step that waits; `None` for one that only a newer release knows.
    ///
    /// # Errors
    /// Those of the type.
    pub fn kind(&self) -> Result<Option<Kind>, R::Error> {
        let kind = self.0.text("kind")?;
        Ok(Kind::stored(self.needed("kind", kind)?))
    }

    /// A step that waits; `None` if it is of a kind that only a newer release knows.
    ///
    /// # Errors
    /// Those of the type.
    pub fn waiting(&self) -> Result<Option<Waiting>, R::Error> {
        let Some(kind) = self.kind()? else {
            return Ok(None);
        };
        Ok(Some(Waiting {
            run: self.run_id()?,
            step: self.step_id()?,
            position: self.small("position")?,
            ticket: Ticket {
                kind,
                rank: self.number("rank")?,
            },
        }))
    }

    /// An attempt.
    ///
    /// # Errors
    /// Those of the type.
    pub fn attempt(&self) -> Result<Attempt, R::Error> {
        let parse = |text| AttemptOutcome::parse(text).ok_or_else(|| unknown("outcome", text));
        let outcome = self.0.text("outcome")?;
        Ok(Attempt {
            n: self.small("n")?,
            round: self.small("round")?,
            outcome: outcome.map(parse).transpose()?,
            worker: self.text("worker")?.into(),
            started_at: self.time("started_at")?,
            ended_at: self.0.time("ended_at")?,
            usage: self.usage()?,
            resumed_from: self.optional_number("resumed_from")?,
            error: self.optional_json("error")?,
        })
    }

    /// An object of a step.
    ///
    /// # Errors
    /// Those of the type.
    pub fn artifact(&self) -> Result<StoredArtifact, R::Error> {
        let artifact = Artifact {
            key: self.text("key")?,
            size: self.number("size")?,
            sha256: self.text("sha256")?,
            media_type: self.text("media_type")?,
        };
        Ok(StoredArtifact {
            artifact,
            etag: self.optional_text("etag")?,
        })
    }

    /// The events of an [`EventRow`], in order.
    ///
    /// # Errors
    /// Those of the type.
    pub fn events(&self) -> Result<Vec<RecordedEvent>, R::Error> {
        let step = self.0.text("step")?;
        let parse = |text: &str| text.parse().map_err(|_| unknown("step", text));
        let last = Event {
            kind: self.text("kind")?,
            step: step.map(parse).transpose()?,
            data: self.json("data")?,
        };
        let earlier: Option<Vec<Event>> = self.optional_json("earlier")?;
        let mut events = earlier.unwrap_or_default();
        let at = self.time("at")?;
        let seq: u64 = self.number("seq")?;
        let first = seq.checked_sub(events.len() as u64);
        let first = first.ok_or_else(|| unknown("seq", &seq.to_string()))?;
        events.push(last);
        let numbered = (first..).zip(events);
        Ok(numbered
            .map(|(seq, event)| RecordedEvent { seq, at, event })
            .collect())
    }
}

/// Events that are committed together, as one row: the last one has columns of its own, so that whoever looks
/// for what comes behind a number finds the row by it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventRow<'a> {
    /// Number of the last one in the history of its run.
    pub seq: u64,
    /// The last one.
    pub last: &'a Event,
    /// Those that were committed with it and come before it: a JSON array in the column `earlier`, which is empty
    /// if there are none.
    pub earlier: &'a [Event],
}

impl<'a> EventRow<'a> {
    /// Most events of a row: a page reads at most so many times what it shows.
    pub const EVENTS: usize = 16;

    /// Keys of the first and the last of the rows that so many events are, of which the first has that number.
    #[must_use]
    pub fn ends(first: u64, events: usize) -> (u64, u64) {
        let key = |events: usize| (first + events as u64).saturating_sub(1);
        (key(events.min(Self::EVENTS)), key(events))
    }

    /// Events of a run, of which the first has that number, as few rows as it takes.
    pub fn of(first: u64, events: &'a [Event]) -> impl Iterator<Item = Self> + Clone + Send {
        let numbered = events.chunks(Self::EVENTS).scan(first, |next, events| {
            *next += events.len() as u64;
            Some((*next - 1, events))
        });
        numbered.filter_map(|(seq, events)| {
            let (last, earlier) = events.split_last()?;
            Some(Self { seq, last, earlier })
        })
    }
}

/// The first of what rows hold, if each holds several of which only some are wanted.
///
/// # Errors
/// That of the first row that has one.
pub fn first_of<T, E>(
    limit: usize,
    rows: impl Iterator<Item = Result<Vec<T>, E>>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, E> {
    let mut first = Vec::new();
    for row in rows {
        first.extend(row?.into_iter().filter(&wanted));
        if first.len() >= limit {
            break;
        }
    }
    first.truncate(limit);
    Ok(first)
}

fn unknown(column: &str, value: &str) -> StoreError {
    StoreError::Corrupt(format!("column {column} has the value {value:?}"))
}
