//! Rows as the engine's types, and the engine's types as rows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use telecine_engine::activity::Progress;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::objects::StoredArtifact;
use telecine_engine::run::{Event, Failure, Node, Run, Step};
use telecine_engine::store::rows::{Cells, EventRow, Row, SINGLE};
use telecine_engine::store::{AttemptEnd, StoreError};

use crate::clock;
use crate::error::Error;

/// The item of a step as it is stored.
pub(crate) fn item(step: &StepId) -> i64 {
    step.item.map_or(i64::from(SINGLE), i64::from)
}

/// A count as it is stored. Nothing counts further than 63 bits.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A row of the engine, as it is here.
pub(crate) struct Columns<'r>(&'r SqliteRow);

/// A row as the engine's types.
pub(crate) fn cells(row: &SqliteRow) -> Cells<Columns<'_>> {
    Cells(Columns(row))
}

impl Row for Columns<'_> {
    type Error = Error;

    fn text(&self, column: &str) -> Result<Option<&str>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn integer(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.0.try_get(column)?)
    }

    /// There is one type of numbers.
    fn small(&self, column: &str) -> Result<Option<i32>, Error> {
        let narrow = |number: i64| {
            let why = || StoreError::Corrupt(format!("column {column} has the value {number}"));
            i32::try_from(number).map_err(|_| why())
        };
        Ok(self.integer(column)?.map(narrow).transpose()?)
    }

    fn real(&self, column: &str) -> Result<Option<f64>, Error> {
        Ok(self.0.try_get(column)?)
    }

    fn time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.integer(column)?.map(clock::from_millis))
    }
}

/// The header of a new run as `create_runs.sql` takes it. What is `None` is left out and becomes
/// NULL.
#[derive(Serialize)]
pub(crate) struct RunCells<'a> {
    #[serde(flatten)]
    header: HeaderCells<'a>,
    workflow: &'a str,
    version: u32,
    definition: &'a str,
    input: &'a Value,
    fingerprint: &'a str,
    source_store: &'a str,
    media_store: &'a str,
    queue: &'static str,
    priority: i32,
    labels: &'a BTreeMap<String, String>,
    created_at: i64,
}

impl<'a> RunCells<'a> {
    pub(crate) fn new(run: &'a Run, nodes: &'a [Node]) -> Self {
        Self {
            header: HeaderCells::new(run, nodes),
            workflow: &run.workflow,
            version: run.version,
            definition: &run.definition,
            input: &run.input,
            fingerprint: &run.fingerprint,
            source_store: &run.stores.source,
            media_store: &run.stores.media,
            queue: run.queue.as_str(),
            priority: run.priority,
            labels: &run.labels,
            created_at: run.created_at.timestamp_millis(),
        }
    }
}

/// What changes of the header of a run, as `save_runs.sql` takes it.
#[derive(Serialize)]
pub(crate) struct HeaderCells<'a> {
    id: &'a str,
    status: &'static str,
    round: u32,
    revision: u64,
    events: u64,
    nodes: &'a [Node],
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

impl<'a> HeaderCells<'a> {
    pub(crate) fn new(run: &'a Run, nodes: &'a [Node]) -> Self {
        Self {
            id: run.id.as_str(),
            status: run.status.as_str(),
            round: run.round,
            revision: run.revision,
            events: run.events,
            nodes,
            output: run.output.as_ref(),
            error: run.error.as_ref(),
            started_at: millis(run.started_at),
            ended_at: millis(run.ended_at),
        }
    }
}

fn millis(time: Option<DateTime<Utc>>) -> Option<i64> {
    time.map(|time| time.timestamp_millis())
}

/// A node as `save_untouched.sql` takes it.
#[derive(Serialize)]
pub(crate) struct NodeCells<'a> {
    #[serde(flatten)]
    node: NodeKey<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> NodeCells<'a> {
    pub(crate) fn new(run: &'a RunId, node: &'a Node) -> Self {
        Self {
            node: NodeKey::new(run, &node.name),
            status: node.status.as_str(),
            reason: node.reason.as_deref(),
        }
    }
}

/// The key of a node.
#[derive(Serialize)]
pub(crate) struct NodeKey<'a> {
    run: &'a str,
    node: &'a str,
}

impl<'a> NodeKey<'a> {
    pub(crate) fn new(run: &'a RunId, node: &'a str) -> Self {
        Self {
            run: run.as_str(),
            node,
        }
    }
}

/// A step with its run and the place of its node.
pub(crate) type Placed<'a> = (&'a RunId, usize, &'a Step);

/// A step as `save_steps.sql` takes it. What is `None` is left out and becomes NULL; an output that
/// is JSON's `null` is not left out.
#[derive(Serialize)]
pub(crate) struct StepCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    position: usize,
    activity: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    fence: u64,
    attempts: u32,
    charged: u32,
    losses: u32,
    outages: u32,
    checkpoint_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<i64>,
    warnings: &'a [String],
    round: u32,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<i64>,
}

impl<'a> StepCells<'a> {
    /// A step with the place of its node, and kind and rank of the ticket that it waits with.
    pub(crate) fn new((run, position, step): Placed<'a>, ticket: Option<(&'a str, i64)>) -> Self {
        let running = step.running.as_deref();
        Self {
            position,
            kind: ticket.map(|(kind, _)| kind),
            rank: ticket.map(|(_, rank)| rank),
            step: FullKey::new(run, &step.id),
            activity: &step.activity,
            status: step.status.as_str(),
            output: step.output.as_ref(),
            error: step.error.as_deref(),
            reason: step.reason.as_deref(),
            fence: step.fence,
            attempts: step.attempts,
            charged: step.charged,
            losses: step.losses,
            outages: step.outages,
            checkpoint_failures: step.checkpoint_failures,
            session: running.map(|running| running.session.as_str()),
            claimed_at: millis(running.map(|running| running.claimed_at)),
            resumed_from: running.and_then(|running| running.resumed_from),
            due_at: millis(step.due_at),
            deadline_at: millis(step.deadline_at),
            warnings: &step.warnings,
            round: step.round,
            started_at: millis(step.started_at),
            ended_at: millis(step.ended_at),
        }
    }
}

/// The input of a step as `save_inputs.sql` takes it.
#[derive(Serialize)]
pub(crate) struct InputCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    input: &'a Value,
}

impl<'a> InputCells<'a> {
    /// Of a step that has one.
    pub(crate) fn of(run: &'a RunId, step: &'a Step) -> Option<Self> {
        let input = step.input.as_ref()?;
        Some(Self {
            step: FullKey::new(run, &step.id),
            input,
        })
    }
}

/// The progress of a step as `save_progress.sql` takes it.
#[derive(Serialize)]
pub(crate) struct ProgressCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    progress: &'a Progress,
}

impl<'a> ProgressCells<'a> {
    pub(crate) fn new(run: &'a RunId, step: &'a StepId, progress: &'a Progress) -> Self {
        Self {
            step: FullKey::new(run, step),
            progress,
        }
    }
}

/// The key of a step.
#[derive(Serialize)]
pub(crate) struct FullKey<'a> {
    run: &'a str,
    node: &'a str,
    item: i64,
}

impl<'a> FullKey<'a> {
    pub(crate) fn new(run: &'a RunId, step: &'a StepId) -> Self {
        Self {
            run: run.as_str(),
            node: &step.node,
            item: item(step),
        }
    }
}

/// An attempt that ended as `end_attempts.sql` takes it.
#[derive(Serialize)]
pub(crate) struct AttemptCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    n: u32,
    round: u32,
    session: &'a str,
    claimed_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    outcome: &'static str,
    cpu_s: f64,
    max_rss_bytes: u64,
    processors: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

impl<'a> AttemptCells<'a> {
    pub(crate) fn new(run: &'a RunId, end: &'a AttemptEnd) -> Self {
        Self {
            step: FullKey::new(run, &end.step),
            n: end.n,
            round: end.round,
            session: end.began.session.as_str(),
            claimed_at: end.began.claimed_at.timestamp_millis(),
            resumed_from: end.began.resumed_from,
            outcome: end.outcome.as_str(),
            cpu_s: end.usage.cpu_s,
            max_rss_bytes: end.usage.max_rss_bytes,
            processors: end.usage.processors,
            error: end.error.as_ref(),
        }
    }
}

/// An object of a step as `save_artifacts.sql` takes it.
#[derive(Serialize)]
pub(crate) struct ArtifactCells<'a> {
    #[serde(flatten)]
    pub(crate) step: FullKey<'a>,
    #[serde(flatten)]
    pub(crate) artifact: &'a StoredArtifact,
}

/// Events as `save_events.sql` takes them.
#[derive(Serialize)]
pub(crate) struct EventCells<'a> {
    run: &'a str,
    seq: u64,
    #[serde(flatten)]
    last: &'a Event,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    earlier: &'a [Event],
}

impl<'a> EventCells<'a> {
    /// Events of a run, of which the first has that number.
    pub(crate) fn of(
        run: &'a RunId,
        first: u64,
        events: &'a [Event],
    ) -> impl Iterator<Item = Self> + Clone + Send {
        EventRow::of(first, events).map(|row| Self {
            run: run.as_str(),
            seq: row.seq,
            last: row.last,
            earlier: row.earlier,
        })
    }
}

/// Which rows of events of a run are new, as `tell_feed.sql` takes it.
#[derive(Serialize)]
pub(crate) struct ToldCells<'a> {
    run: &'a str,
    first: u64,
    last: u64,
}

impl<'a> ToldCells<'a> {
    /// So many events of a run, of which the first has that number.
    pub(crate) fn new(run: &'a RunId, first: u64, events: usize) -> Self {
        let (first, last) = EventRow::ends(first, events);
        Self {
            run: run.as_str(),
            first,
            last,
        }
    }
}
