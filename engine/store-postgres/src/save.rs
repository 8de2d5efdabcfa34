//! What the machine changed, as rows: each statement writes those of all runs of a transaction, over
//! one array per column.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::StoredArtifact;
use telecine_engine::queue::Tickets;
use telecine_engine::run::{Event, Node, Run, Step, StepStatus};
use telecine_engine::store::{AttemptEnd, AttemptStart, StoreError};

use crate::error::Error;
use crate::rows::{StepKeys, clean, count, item, narrow_count};

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
        self.headers(changes).await?;
        self.amended(changes).await?;
        self.clear(changes).await?;
        self.steps(&placed(changes)?, &Tickets::of(changes)).await?;
        for (run, changes) in changes {
            self.untouched(run, &changes.untouched).await?;
        }
        self.start_attempts(&each(changes, |changes| &changes.started).collect::<Vec<_>>())
            .await?;
        self.end_attempts(&each(changes, |changes| &changes.attempts).collect::<Vec<_>>())
            .await?;
        for (run, changes) in changes {
            for (step, artifacts) in &changes.artifacts {
                self.artifacts(run, step, artifacts).await?;
            }
        }
        self.reuse(changes).await?;
        self.events(&numbered(changes)).await
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

    /// Writes headers and nodes.
    async fn headers(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let (mut new, mut headers) = (NewRuns::default(), Headers::default());
        for (id, changes) in changes {
            let run = changes.run.as_ref();
            let run = run.ok_or_else(|| StoreError::NoRun(id.clone()))?;
            match changes.created {
                true => new.push(run, changes)?,
                false => headers.push(run, changes)?,
            }
        }
        new.write(self.connection).await?;
        headers.write(self.connection).await
    }

    /// Forgets the progress of steps.
    async fn clear(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let keys: StepKeys<'_> = each(changes, |changes| &changes.cleared).collect();
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/clear_progress.sql"))
            .bind(&keys.runs)
            .bind(&keys.nodes)
            .bind(&keys.items)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Most steps that are written are there already: those are updated, which costs half of an upsert. If
    /// one turns out to be new after all, the upsert puts all of them right.
    async fn steps(&mut self, steps: &[Placed<'_>], tickets: &Tickets<'_>) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let made_before = self.made_before(steps).await?;
        let (known, mut new): (Vec<_>, Vec<_>) = steps.iter().partition(|placed| placed.is_known());
        for part in known.chunks(STEPS_AT_ONCE) {
            let columns = StepColumns::of(part, &made_before)?;
            let update = include_str!("sql/update_steps.sql");
            if columns.write(update, self.connection).await? < part.len() as u64 {
                new.extend(part);
            }
        }
        for part in new.chunks(STEPS_AT_ONCE) {
            let columns = StepColumns::of(part, &made_before)?;
            let save = include_str!("sql/save_steps.sql");
            columns.write(save, self.connection).await?;
        }
        self.ready(steps, tickets).await
    }

    /// Attempts of steps that are made anew under the name of an earlier one, whose numbers go on.
    async fn made_before(
        &mut self,
        steps: &[Placed<'_>],
    ) -> Result<HashMap<(String, String, i32), i32>, Error> {
        let anew = |it: &&Placed<'_>| it.step.round > 1 && it.step.attempts == 0;
        let keys: StepKeys<'_> = steps
            .iter()
            .filter(anew)
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

    /// Keeps the table of what can be claimed in step.
    async fn ready(&mut self, steps: &[Placed<'_>], tickets: &Tickets<'_>) -> Result<(), Error> {
        let (mut opened, mut closed) = (ReadyColumns::default(), ReadyColumns::default());
        let (mut kinds, mut ranks) = (Vec::new(), Vec::new());
        for placed in steps {
            let Placed { run, step, .. } = placed;
            match step.status {
                StepStatus::Ready => {
                    let ticket = tickets.get(run, step);
                    let (kind, rank) = ticket.ok_or_else(|| {
                        StoreError::Corrupt(format!("{run}: {} waits without a ticket", step.id))
                    })?;
                    kinds.push(kind);
                    ranks.push(rank);
                    opened.push(placed);
                }
                _ if placed.waited => closed.push(placed),
                _ => {}
            }
        }
        if !closed.keys.is_empty() {
            sqlx::query(include_str!("sql/close_steps.sql"))
                .bind(&closed.keys.runs)
                .bind(closed.positions)
                .bind(&closed.keys.items)
                .execute(&mut *self.connection)
                .await?;
        }
        if opened.keys.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/open_steps.sql"))
            .bind(&opened.keys.runs)
            .bind(&opened.keys.nodes)
            .bind(&opened.keys.items)
            .bind(opened.positions)
            .bind(opened.activities)
            .bind(kinds)
            .bind(ranks)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
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

    async fn start_attempts(&mut self, starts: &[(&RunId, &AttemptStart)]) -> Result<(), Error> {
        if starts.is_empty() {
            return Ok(());
        }
        let keys: StepKeys<'_> = starts
            .iter()
            .map(|(run, start)| (*run, &start.step))
            .collect();
        let starts = || starts.iter().map(|(_, start)| start);
        sqlx::query(include_str!("sql/start_attempts.sql"))
            .bind(&keys.runs)
            .bind(&keys.nodes)
            .bind(&keys.items)
            .bind(
                starts()
                    .map(|start| narrow_count(start.n))
                    .collect::<Vec<_>>(),
            )
            .bind(
                starts()
                    .map(|start| narrow_count(start.round))
                    .collect::<Vec<_>>(),
            )
            .bind(
                starts()
                    .map(|start| start.session.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(
                starts()
                    .map(|start| start.resumed_from.map(count))
                    .collect::<Vec<_>>(),
            )
            .bind(self.now)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn end_attempts(&mut self, ends: &[(&RunId, &AttemptEnd)]) -> Result<(), Error> {
        if ends.is_empty() {
            return Ok(());
        }
        let keys: StepKeys<'_> = ends.iter().map(|(run, end)| (*run, &end.step)).collect();
        let ends = || ends.iter().map(|(_, end)| end);
        let errors: Result<Vec<_>, _> = ends().map(|end| json(end.error.as_ref())).collect();
        sqlx::query(include_str!("sql/end_attempts.sql"))
            .bind(&keys.runs)
            .bind(&keys.nodes)
            .bind(&keys.items)
            .bind(ends().map(|end| narrow_count(end.n)).collect::<Vec<_>>())
            .bind(ends().map(|end| end.outcome.as_str()).collect::<Vec<_>>())
            .bind(ends().map(|end| end.usage.cpu_s).collect::<Vec<_>>())
            .bind(
                ends()
                    .map(|end| count(end.usage.max_rss_bytes))
                    .collect::<Vec<_>>(),
            )
            .bind(
                ends()
                    .map(|end| end.usage.processors.map(narrow_count))
                    .collect::<Vec<_>>(),
            )
            .bind(errors?)
            .bind(self.now)
            .execute(&mut *self.connection)
            .await?;
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
        // One statement cannot write a row twice: of objects named twice, the last counts.
        let mut named = HashSet::new();
        let mut distinct: Vec<&StoredArtifact> = artifacts
            .iter()
            .rev()
            .filter(|artifact| named.insert(artifact.key.as_str()))
            .collect();
        distinct.reverse();
        sqlx::query(include_str!("sql/save_artifacts.sql"))
            .bind(run.as_str())
            .bind(&step.node)
            .bind(item(step))
            .bind(
                distinct
                    .iter()
                    .map(|artifact| clean(&artifact.key))
                    .collect::<Vec<_>>(),
            )
            .bind(
                distinct
                    .iter()
                    .map(|artifact| count(artifact.size))
                    .collect::<Vec<_>>(),
            )
            .bind(
                distinct
                    .iter()
                    .map(|artifact| artifact.sha256.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(
                distinct
                    .iter()
                    .map(|artifact| artifact.media_type.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(
                distinct
                    .iter()
                    .map(|artifact| artifact.etag.as_deref())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *self.connection)
            .await?;
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
        self.events(&[(run, number, event)]).await
    }

    /// Appends events, each with its run and its number.
    async fn events(&mut self, events: &[(&RunId, i64, &Event)]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let mut told: Vec<(&RunId, i64, i64)> = Vec::new();
        let (mut runs, mut numbers, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        let (mut steps, mut data) = (Vec::new(), Vec::new());
        for (run, number, event) in events {
            runs.push(run.as_str());
            numbers.push(*number);
            kinds.push(event.kind.as_str());
            steps.push(event.step.as_ref().map(ToString::to_string));
            data.push(serde_json::to_string(&event.data)?);
            match told.last_mut() {
                Some((last, _, to)) if last == run => *to = *number,
                _ => told.push((run, *number, *number)),
            }
        }
        sqlx::query(include_str!("sql/save_events.sql"))
            .bind(runs)
            .bind(numbers)
            .bind(kinds)
            .bind(steps)
            .bind(data)
            .bind(self.now)
            .bind(told.iter().map(|it| it.0.as_str()).collect::<Vec<_>>())
            .bind(told.iter().map(|it| it.1).collect::<Vec<_>>())
            .bind(told.iter().map(|it| it.2).collect::<Vec<_>>())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// The events of all runs, each with its run and its number.
fn numbered(changes: &[(RunId, Changes)]) -> Vec<(&RunId, i64, &Event)> {
    let of_runs = changes.iter().flat_map(|(run, changes)| {
        let numbers = count(changes.first_event)..;
        let events = numbers.zip(&changes.events);
        events.map(move |(number, event)| (run, number, event))
    });
    of_runs.collect()
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

/// Runs as `create_runs.sql` takes them.
#[derive(Default)]
struct NewRuns<'a> {
    ids: Vec<&'a str>,
    workflows: Vec<&'a str>,
    versions: Vec<i32>,
    definitions: Vec<&'a str>,
    status: Vec<&'static str>,
    rounds: Vec<i32>,
    revisions: Vec<i64>,
    events: Vec<i64>,
    nodes: Vec<String>,
    inputs: Vec<String>,
    fingerprints: Vec<&'a str>,
    sources: Vec<&'a str>,
    media: Vec<&'a str>,
    labels: Vec<String>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    created: Vec<DateTime<Utc>>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
    queues: Vec<&'static str>,
    priorities: Vec<i32>,
}

impl<'a> NewRuns<'a> {
    fn push(&mut self, run: &'a Run, changes: &Changes) -> Result<(), Error> {
        self.ids.push(run.id.as_str());
        self.workflows.push(&run.workflow);
        self.versions.push(narrow_count(run.version));
        self.definitions.push(&run.definition);
        self.status.push(run.status.as_str());
        self.rounds.push(narrow_count(run.round));
        self.revisions.push(count(run.revision));
        self.events.push(count(run.events));
        self.nodes.push(serde_json::to_string(&changes.nodes)?);
        self.inputs.push(serde_json::to_string(&run.input)?);
        self.fingerprints.push(&run.fingerprint);
        self.sources.push(&run.stores.source);
        self.media.push(&run.stores.media);
        self.labels.push(serde_json::to_string(&run.labels)?);
        self.outputs.push(json(run.output.as_ref())?);
        self.errors.push(json(run.error.as_ref())?);
        self.created.push(run.created_at);
        self.started.push(run.started_at);
        self.ended.push(run.ended_at);
        self.queues.push(run.queue.as_str());
        self.priorities.push(run.priority);
        Ok(())
    }

    async fn write(self, db: &mut PgConnection) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/create_runs.sql"))
            .bind(self.ids)
            .bind(self.workflows)
            .bind(self.versions)
            .bind(self.definitions)
            .bind(self.status)
            .bind(self.rounds)
            .bind(self.revisions)
            .bind(self.events)
            .bind(self.nodes)
            .bind(self.inputs)
            .bind(self.fingerprints)
            .bind(self.sources)
            .bind(self.media)
            .bind(self.labels)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.created)
            .bind(self.started)
            .bind(self.ended)
            .bind(self.queues)
            .bind(self.priorities)
            .execute(db)
            .await?;
        Ok(())
    }
}

/// Headers as `save_runs.sql` takes them.
#[derive(Default)]
struct Headers<'a> {
    runs: Vec<&'a str>,
    nodes: Vec<String>,
    events: Vec<i64>,
    status: Vec<&'static str>,
    rounds: Vec<i32>,
    revisions: Vec<i64>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Headers<'a> {
    fn push(&mut self, run: &'a Run, changes: &Changes) -> Result<(), Error> {
        self.runs.push(run.id.as_str());
        self.nodes.push(serde_json::to_string(&changes.nodes)?);
        self.events.push(count(run.events));
        self.status.push(run.status.as_str());
        self.rounds.push(narrow_count(run.round));
        self.revisions.push(count(run.revision));
        self.outputs.push(json(run.output.as_ref())?);
        self.errors.push(json(run.error.as_ref())?);
        self.started.push(run.started_at);
        self.ended.push(run.ended_at);
        Ok(())
    }

    async fn write(self, db: &mut PgConnection) -> Result<(), Error> {
        if self.runs.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/save_runs.sql"))
            .bind(self.runs)
            .bind(self.nodes)
            .bind(self.events)
            .bind(self.status)
            .bind(self.rounds)
            .bind(self.revisions)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.started)
            .bind(self.ended)
            .execute(db)
            .await?;
        Ok(())
    }
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

/// Steps as the statements about the table `ready` take them.
#[derive(Default)]
struct ReadyColumns<'a> {
    keys: StepKeys<'a>,
    positions: Vec<i32>,
    activities: Vec<&'a str>,
}

impl<'a> ReadyColumns<'a> {
    fn push(&mut self, placed: &Placed<'a>) {
        self.keys.push(placed.run, &placed.step.id);
        self.positions.push(placed.place);
        self.activities.push(&placed.step.activity);
    }
}

/// Steps as `save_steps.sql` and `update_steps.sql` take them.
#[derive(Default)]
struct StepColumns<'a> {
    keys: StepKeys<'a>,
    positions: Vec<i32>,
    activities: Vec<&'a str>,
    status: Vec<&'static str>,
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    fences: Vec<i64>,
    attempts: Vec<i32>,
    charged: Vec<i32>,
    losses: Vec<i32>,
    checkpoint_failures: Vec<i32>,
    sessions: Vec<Option<&'a str>>,
    due: Vec<Option<DateTime<Utc>>>,
    deadlines: Vec<Option<DateTime<Utc>>>,
    progress: Vec<Option<String>>,
    warnings: Vec<String>,
    rounds: Vec<i32>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
    outages: Vec<i32>,
}

impl<'a> StepColumns<'a> {
    fn of(
        steps: &[&Placed<'a>],
        made_before: &HashMap<(String, String, i32), i32>,
    ) -> Result<Self, Error> {
        let mut columns = Self::default();
        for placed in steps {
            columns.push(placed, made_before)?;
        }
        Ok(columns)
    }

    fn push(
        &mut self,
        placed: &Placed<'a>,
        made_before: &HashMap<(String, String, i32), i32>,
    ) -> Result<(), Error> {
        let Placed { run, step, .. } = *placed;
        let attempts = narrow_count(step.attempts);
        let key = (run.to_string(), step.id.node.clone(), item(&step.id));
        let before = made_before.get(&key).copied().unwrap_or_default();
        self.keys.push(run, &step.id);
        self.positions.push(placed.place);
        self.activities.push(&step.activity);
        self.status.push(step.status.as_str());
        self.inputs.push(json(step.input.as_ref())?);
        self.outputs.push(json(step.output.as_ref())?);
        self.errors.push(json(step.error.as_ref())?);
        self.reasons.push(
            step.reason
                .as_deref()
                .map(|reason| clean(reason).into_owned()),
        );
        self.fences.push(count(step.fence));
        self.attempts.push(attempts.max(before));
        self.charged.push(narrow_count(step.charged));
        self.losses.push(narrow_count(step.losses));
        self.checkpoint_failures
            .push(narrow_count(step.checkpoint_failures));
        self.sessions
            .push(step.session.as_ref().map(|session| session.as_str()));
        self.due.push(step.due_at);
        self.deadlines.push(step.deadline_at);
        self.progress.push(json(step.progress.as_ref())?);
        self.warnings.push(serde_json::to_string(&step.warnings)?);
        self.rounds.push(narrow_count(step.round));
        self.started.push(step.started_at);
        self.ended.push(step.ended_at);
        self.outages.push(narrow_count(step.outages));
        Ok(())
    }

    /// By `save_steps.sql` or `update_steps.sql`; answers how many it wrote.
    async fn write(self, sql: &'static str, db: &mut PgConnection) -> Result<u64, Error> {
        let written = sqlx::query(sql)
            .bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.positions)
            .bind(self.activities)
            .bind(self.status)
            .bind(self.inputs)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.reasons)
            .bind(self.fences)
            .bind(self.attempts)
            .bind(self.charged)
            .bind(self.losses)
            .bind(self.checkpoint_failures)
            .bind(self.sessions)
            .bind(self.due)
            .bind(self.deadlines)
            .bind(self.progress)
            .bind(self.warnings)
            .bind(self.rounds)
            .bind(self.started)
            .bind(self.ended)
            .bind(self.outages)
            .execute(db)
            .await?;
        Ok(written.rows_affected())
    }
}
