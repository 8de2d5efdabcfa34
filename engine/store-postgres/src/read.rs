//! What is read, inside a transaction or on a connection of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::retry::plan::{PlanState, RetryPlan};
use telecine_engine::run::{RecordedEvent, Run, Snapshot, Step, StepRecord};
use telecine_engine::store::rows::first_of;
use telecine_engine::store::{
    DefinitionRecord, Due, Fence, PlanHead, StepSet, StoreError, ViewRows,
};

use crate::error::Error;
use crate::rows::{StepKeys, cells, count};

pub(crate) async fn run(db: &mut PgConnection, run: &RunId) -> Result<Option<Run>, Error> {
    let row = sqlx::query("select * from run where id = $1")
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).run()).transpose()
}

pub(crate) async fn find_run(
    db: &mut PgConnection,
    fingerprint: &str,
) -> Result<Option<RunId>, Error> {
    let id: Option<String> = sqlx::query_scalar("select run from request where fingerprint = $1")
        .bind(fingerprint)
        .fetch_optional(db)
        .await?;
    Ok(id.map(Into::into))
}

/// Locks runs until the transaction ends; answers the revision of each that is there.
pub(crate) async fn lock_runs(
    db: &mut PgConnection,
    runs: &BTreeSet<RunId>,
) -> Result<BTreeMap<RunId, u64>, Error> {
    let ids: Vec<&str> = runs.iter().map(RunId::as_str).collect();
    let rows = sqlx::query(include_str!("sql/lock_runs.sql"))
        .bind(ids)
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                cells(row).text("id")?.into(),
                cells(row).number("revision")?,
            ))
        })
        .collect()
}

/// Headers and nodes of runs, as far as they are there.
pub(crate) async fn views(
    db: &mut PgConnection,
    runs: &BTreeSet<RunId>,
) -> Result<Vec<ViewRows>, Error> {
    let ids: Vec<&str> = runs.iter().map(RunId::as_str).collect();
    let rows = sqlx::query("select * from run where id = any($1)")
        .bind(ids)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).view()).collect()
}

/// Single steps, in the order asked for.
pub(crate) async fn single_steps(
    db: &mut PgConnection,
    keys: &StepKeys<'_>,
) -> Result<Vec<(RunId, Step)>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(include_str!("sql/load_step.sql"))
        .bind(&keys.runs)
        .bind(&keys.nodes)
        .bind(&keys.items)
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| Ok((cells(row).run_id()?, cells(row).step()?)))
        .collect()
}

/// Steps of a run in the order of the definition and of its lists: all, or those not settled.
pub(crate) async fn steps(
    db: &mut PgConnection,
    run: &RunId,
    which: &StepSet,
) -> Result<Vec<Step>, Error> {
    let rows = sqlx::query(include_str!("sql/load_steps.sql"))
        .bind(run.as_str())
        .bind(*which == StepSet::All)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).step()).collect()
}

/// Outputs of nodes of many runs, those without steps left out.
pub(crate) async fn outputs(
    db: &mut PgConnection,
    wanted: &[(RunId, Vec<String>)],
) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, Error> {
    let pairs = || {
        wanted
            .iter()
            .flat_map(|(run, nodes)| nodes.iter().map(move |node| (run, node)))
    };
    let mut outputs: BTreeMap<RunId, BTreeMap<String, Value>> = BTreeMap::new();
    let (runs, nodes): (Vec<&str>, Vec<&str>) = pairs()
        .map(|(run, node)| (run.as_str(), node.as_str()))
        .unzip();
    let rows = sqlx::query(include_str!("sql/load_outputs.sql"))
        .bind(runs)
        .bind(nodes)
        .fetch_all(db)
        .await?;
    for row in &rows {
        let row = cells(row);
        let (run, step) = (row.run_id()?, row.step_id()?);
        let output = row.optional_json("output")?.unwrap_or(Value::Null);
        let of_node = outputs
            .entry(run)
            .or_default()
            .entry(step.node)
            .or_default();
        match (step.item, of_node) {
            (None, of_node) => *of_node = output,
            (Some(_), Value::Array(list)) => list.push(output),
            (Some(_), of_node) => *of_node = Value::Array(vec![output]),
        }
    }
    Ok(outputs)
}

pub(crate) async fn snapshot(db: &mut PgConnection, id: &RunId) -> Result<Snapshot, Error> {
    let view = view_of(db, id).await?;
    let view = view.ok_or_else(|| StoreError::NoRun(id.clone()))?;
    let rows = Rows {
        steps: sqlx::query(include_str!("sql/load_steps.sql"))
            .bind(id.as_str())
            .bind(true)
            .fetch_all(&mut *db)
            .await?,
        attempts: of_run(db, include_str!("sql/load_attempts.sql"), id).await?,
        artifacts: of_run(db, include_str!("sql/load_artifacts.sql"), id).await?,
        made: of_run(db, include_str!("sql/load_made.sql"), id).await?,
    };
    rows.snapshot(view)
}

/// Header and nodes of a run, if it is there.
pub(crate) async fn view_of(db: &mut PgConnection, id: &RunId) -> Result<Option<ViewRows>, Error> {
    let row = sqlx::query("select * from run where id = $1")
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).view()).transpose()
}

/// What a snapshot is made of, each in its order.
pub(crate) struct Rows {
    pub(crate) steps: Vec<PgRow>,
    pub(crate) attempts: Vec<PgRow>,
    pub(crate) artifacts: Vec<PgRow>,
    pub(crate) made: Vec<PgRow>,
}

impl Rows {
    /// Gives each step its attempts and artifacts.
    pub(crate) fn snapshot(self, view: ViewRows) -> Result<Snapshot, Error> {
        let mut records = Records::new(&self.steps)?;
        let mut former = Vec::new();
        for row in &self.attempts {
            let row = cells(row);
            let (id, attempt) = (row.step_id()?, row.attempt()?);
            match records.find(&id) {
                Some(record) => record.attempts.push(attempt),
                None => former.push((id, attempt)),
            }
        }
        for row in &self.artifacts {
            let row = cells(row);
            let id = row.step_id()?;
            let record = records.find(&id);
            let record =
                record.ok_or_else(|| StoreError::Corrupt(format!("there is no step {id}")))?;
            record.artifacts.push(row.artifact()?);
        }
        for row in &self.made {
            let row = cells(row);
            if let Some(record) = records.find(&row.step_id()?) {
                record.made = Some(row.json("value")?);
            }
        }
        records.steps.iter_mut().for_each(StepRecord::add_running);
        Ok(Snapshot {
            run: view.run,
            nodes: view.nodes,
            steps: records.steps,
            former,
            amendments: view.amendments,
        })
    }
}

async fn of_run(
    db: &mut PgConnection,
    sql: &'static str,
    run: &RunId,
) -> Result<Vec<PgRow>, Error> {
    Ok(sqlx::query(sql).bind(run.as_str()).fetch_all(db).await?)
}

/// The steps of a snapshot while attempts and artifacts are added to them.
struct Records {
    steps: Vec<StepRecord>,
    places: HashMap<StepId, usize>,
}

impl Records {
    fn new(rows: &[PgRow]) -> Result<Self, Error> {
        let record = |row| {
            let row = cells(row);
            Ok(StepRecord {
                step: row.step()?,
                attempts: Vec::new(),
                artifacts: Vec::new(),
                compat: row.optional_text("checkpoint_compat")?,
                made: None,
            })
        };
        let steps = rows.iter().map(record).collect::<Result<Vec<_>, Error>>()?;
        let places = steps.iter().enumerate();
        let places = places.map(|(place, record)| (record.step.id.clone(), place));
        Ok(Self {
            places: places.collect(),
            steps,
        })
    }

    fn find(&mut self, step: &StepId) -> Option<&mut StepRecord> {
        let place = self.places.get(step)?;
        self.steps.get_mut(*place)
    }
}

pub(crate) async fn events(
    db: &mut PgConnection,
    run: &RunId,
    (after, limit): (u64, usize),
) -> Result<Vec<RecordedEvent>, Error> {
    let rows = sqlx::query(include_str!("sql/events.sql"))
        .bind(run.as_str())
        .bind(count(after))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    let rows = rows.iter().map(|row| cells(row).events());
    first_of(limit, rows, |event| event.seq > after)
}

pub(crate) async fn plan(db: &mut PgConnection, run: &RunId) -> Result<Option<RetryPlan>, Error> {
    let row = sqlx::query(include_str!("sql/load_plan.sql"))
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(stored_plan).transpose()
}

/// A plan of any run.
pub(crate) async fn find_plan(
    db: &mut PgConnection,
    plan: &PlanId,
) -> Result<Option<RetryPlan>, Error> {
    let row = sqlx::query(include_str!("sql/find_plan.sql"))
        .bind(plan.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(stored_plan).transpose()
}

fn stored_plan(row: &PgRow) -> Result<RetryPlan, Error> {
    let row = cells(row);
    let state: PlanState = serde_json::from_value(row.text("state")?.into())?;
    Ok(RetryPlan {
        state,
        ..row.json("body")?
    })
}

/// Plans whose objects nobody has looked at.
pub(crate) async fn unproved_plans(
    db: &mut PgConnection,
    limit: usize,
) -> Result<Vec<(PlanId, RunId)>, Error> {
    let rows = sqlx::query(include_str!("sql/unproved_plans.sql"))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    let named = rows.iter().map(|row| {
        let row = cells(row);
        Ok((row.text("id")?.into(), row.text("run")?.into()))
    });
    named.collect()
}

/// The latest plan of a run with its first steps.
pub(crate) async fn plan_head(
    db: &mut PgConnection,
    run: &RunId,
) -> Result<Option<PlanHead>, Error> {
    let row = sqlx::query(include_str!("sql/plan_head.sql"))
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).plan_head()).transpose()
}

pub(crate) async fn definition(
    db: &mut PgConnection,
    digest: &str,
) -> Result<Option<DefinitionRecord>, Error> {
    let row =
        sqlx::query("select digest, name, version, canonical from definition where digest = $1")
            .bind(digest)
            .fetch_optional(db)
            .await?;
    row.map(|row| {
        let row = cells(&row);
        Ok(DefinitionRecord {
            digest: row.text("digest")?,
            name: row.text("name")?,
            version: row.small("version")?,
            canonical: row.text("canonical")?,
        })
    })
    .transpose()
}

pub(crate) async fn publication(db: &mut PgConnection, name: &str) -> Result<Option<u64>, Error> {
    let row = sqlx::query("select generation from publication where name = $1")
        .bind(name)
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).number("generation")).transpose()
}

pub(crate) async fn published_by(
    db: &mut PgConnection,
    run: &RunId,
) -> Result<BTreeSet<StepId>, Error> {
    let rows = sqlx::query("select node, item from generation where run = $1 and node is not null")
        .bind(run.as_str())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).step_id()).collect()
}

pub(crate) async fn due(db: &mut PgConnection, limit: usize) -> Result<Vec<Due>, Error> {
    let rows = sqlx::query(include_str!("sql/due.sql"))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    let read = |row| {
        let row = cells(row);
        let (run, step) = (row.run_id()?, row.step_id()?);
        Ok(match row.optional_number("fence")? {
            None => Due::Backoff(run, step),
            Some(fence) => Due::Deadline(Fence { run, step, fence }),
        })
    };
    rows.iter().map(read).collect()
}
