//! Rows as the engine's types, and the engine's types as rows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use telecine_engine::activity::{Checkpoint, MediaSpan, Progress, Usage};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::objects::Artifact;
use telecine_engine::queue::{Kind, Queue, Ticket, Waiting};
use telecine_engine::run::{
    Attempt, AttemptOutcome, CheckpointHead, Event, Failure, Node, RecordedEvent, Run, RunStatus,
    Step, StepStatus, StoreUrls,
};
use telecine_engine::store::{AttemptEnd, AttemptStart, Fence, StoreError, ViewRows};

use crate::clock;
use crate::error::Error;

/// What stands for "no item": the only step of a node without `for_each`.
const SINGLE: i64 = -1;

/// The item of a step as it is stored.
pub(crate) fn item(step: &StepId) -> i64 {
    step.item.map_or(SINGLE, i64::from)
}

/// A count as it is stored. Nothing counts further than 63 bits.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A row, read by the names of its columns.
pub(crate) struct Cells<'r>(pub(crate) &'r SqliteRow);

impl Cells<'_> {
    pub(crate) fn text(&self, column: &str) -> Result<String, Error> {
        Ok(self.0.try_get(column)?)
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, Error> {
        narrow(self.0.try_get(column)?, column)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, Error> {
        Ok(self.0.try_get(column)?)
    }

    pub(crate) fn optional_number<T: TryFrom<i64>>(
        &self,
        column: &str,
    ) -> Result<Option<T>, Error> {
        let number: Option<i64> = self.0.try_get(column)?;
        number.map(|number| narrow(number, column)).transpose()
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
        Ok(clock::from_millis(self.0.try_get(column)?))
    }

    fn optional_time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
        let millis: Option<i64> = self.0.try_get(column)?;
        Ok(millis.map(clock::from_millis))
    }

    /// A name of a closed list.
    fn name<T>(&self, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
        let text: &str = self.0.try_get(column)?;
        parse(text).ok_or_else(|| unknown(column, text))
    }

    pub(crate) fn run_id(&self) -> Result<RunId, Error> {
        Ok(self.text("run")?.into())
    }

    pub(crate) fn step_id(&self) -> Result<StepId, Error> {
        let item: i64 = self.number("item")?;
        let item = if item == SINGLE {
            None
        } else {
            Some(narrow(item, "item")?)
        };
        Ok(StepId {
            node: self.text("node")?,
            item,
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
        Ok(from
            .zip(to)
            .map(|(from_s, to_s)| MediaSpan { from_s, to_s }))
    }

    fn usage(&self) -> Result<Option<Usage>, Error> {
        let cpu: Option<f64> = self.0.try_get("cpu_s")?;
        let memory: Option<u64> = self.optional_number("max_rss_bytes")?;
        Ok(cpu.zip(memory).map(|(cpu_s, max_rss_bytes)| Usage {
            cpu_s,
            max_rss_bytes,
        }))
    }

    fn stores(&self) -> Result<StoreUrls, Error> {
        Ok(StoreUrls {
            source: self.text("source_store")?,
            media: self.text("media_store")?,
        })
    }

    pub(crate) fn run(&self) -> Result<Run, Error> {
        Ok(Run {
            id: self.text("id")?.into(),
            workflow: self.text("workflow")?,
            version: self.number("version")?,
            definition: self.text("definition")?,
            status: self.name("status", RunStatus::parse)?,
            round: self.number("round")?,
            revision: self.number("revision")?,
            events: self.number("events")?,
            input: self.json("input")?,
            fingerprint: self.text("fingerprint")?,
            stores: self.stores()?,
            queue: self.name("queue", Queue::parse)?,
            priority: self.number("priority")?,
            labels: self.json("labels")?,
            output: self.optional_json("output")?,
            error: self.optional_json("error")?,
            created_at: self.time("created_at")?,
            started_at: self.optional_time("started_at")?,
            ended_at: self.optional_time("ended_at")?,
        })
    }

    pub(crate) fn view(&self) -> Result<ViewRows, Error> {
        Ok(ViewRows {
            run: self.run()?,
            nodes: self.json("nodes")?,
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
            attempts: self.number("attempts")?,
            charged: self.number("charged")?,
            losses: self.number("losses")?,
            checkpoint_failures: self.number("checkpoint_failures")?,
            session: self.optional_text("session")?.map(Into::into),
            due_at: self.optional_time("due_at")?,
            deadline_at: self.optional_time("deadline_at")?,
            progress: self.optional_json("progress")?,
            checkpoint: self.checkpoint_head()?,
            warnings: self.json("warnings")?,
            round: self.number("round")?,
            started_at: self.optional_time("started_at")?,
            ended_at: self.optional_time("ended_at")?,
        })
    }

    fn checkpoint_head(&self) -> Result<Option<CheckpointHead>, Error> {
        let Some(seq) = self.optional_number("checkpoint_seq")? else {
            return Ok(None);
        };
        let attempt = self.number("checkpoint_attempt")?;
        Ok(Some(CheckpointHead {
            seq,
            covers_s: self.covers()?,
            attempt,
        }))
    }

    pub(crate) fn attempt(&self) -> Result<Attempt, Error> {
        let outcome = self.optional_text("outcome")?;
        Ok(Attempt {
            n: self.number("n")?,
            round: self.number("round")?,
            outcome: outcome
                .map(|text| AttemptOutcome::parse(&text).ok_or_else(|| unknown("outcome", &text)))
                .transpose()?,
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
            position: self.number("position")?,
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
}

fn narrow<T: TryFrom<i64>>(number: i64, column: &str) -> Result<T, Error> {
    T::try_from(number).map_err(|_| unknown(column, &number.to_string()))
}

fn unknown(column: &str, value: &str) -> Error {
    StoreError::Corrupt(format!("{value:?} is no {column}")).into()
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
    checkpoint_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
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
        Self {
            position,
            kind: ticket.map(|(kind, _)| kind),
            rank: ticket.map(|(_, rank)| rank),
            step: FullKey::new(run, &step.id),
            activity: &step.activity,
            status: step.status.as_str(),
            output: step.output.as_ref(),
            error: step.error.as_ref(),
            reason: step.reason.as_deref(),
            fence: step.fence,
            attempts: step.attempts,
            charged: step.charged,
            losses: step.losses,
            checkpoint_failures: step.checkpoint_failures,
            session: step.session.as_ref().map(|session| session.as_str()),
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

/// An attempt that begins as `start_attempts.sql` takes it.
#[derive(Serialize)]
pub(crate) struct StartCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    n: u32,
    round: u32,
    session: &'a str,
    resumed_from: Option<u64>,
}

impl<'a> StartCells<'a> {
    pub(crate) fn new(run: &'a RunId, start: &'a AttemptStart) -> Self {
        Self {
            step: FullKey::new(run, &start.step),
            n: start.n,
            round: start.round,
            session: start.session.as_str(),
            resumed_from: start.resumed_from,
        }
    }
}

/// The end of an attempt as `save_attempts.sql` takes it.
#[derive(Serialize)]
pub(crate) struct AttemptCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    n: u32,
    outcome: &'static str,
    cpu_s: f64,
    max_rss_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

impl<'a> AttemptCells<'a> {
    pub(crate) fn new(run: &'a RunId, end: &'a AttemptEnd) -> Self {
        Self {
            step: FullKey::new(run, &end.step),
            n: end.n,
            outcome: end.outcome.as_str(),
            cpu_s: end.usage.cpu_s,
            max_rss_bytes: end.usage.max_rss_bytes,
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
    pub(crate) artifact: &'a Artifact,
}

/// An event as `save_events.sql` takes it.
#[derive(Serialize)]
pub(crate) struct EventCells<'a> {
    pub(crate) run: &'a str,
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) event: &'a Event,
}

/// Which events of a run are new, as `tell_feed.sql` takes it.
#[derive(Serialize)]
pub(crate) struct ToldCells<'a> {
    pub(crate) run: &'a str,
    pub(crate) first: u64,
    pub(crate) last: u64,
}
