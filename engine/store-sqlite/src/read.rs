//! What is read, inside a transaction or on a connection of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::objects::StoredArtifact;
use telecine_engine::retry::plan::{PlanState, RetryPlan};
use telecine_engine::run::{RecordedEvent, Run, Snapshot, Step, StepRecord};
use telecine_engine::store::rows::first_of;
use telecine_engine::store::{
    DefinitionRecord, Due, Fence, PlanHead, StepSet, StoreError, ViewRows,
};

use crate::clock;
use crate::error::Error;
use crate::rows::{FullKey, NodeKey, cells, count};

pub(crate) async fn run(db: &mut SqliteConnection, run: &RunId) -> Result<Option<Run>, Error> {
    let row = sqlx::query("select * from run where id = $1")
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).run()).transpose()
}

pub(crate) async fn find_run(
    db: &mut SqliteConnection,
    fingerprint: &str,
) -> Result<Option<RunId>, Error> {
    let id: Option<String> = sqlx::query_scalar(include_str!("sql/find_run.sql"))
        .bind(fingerprint)
        .fetch_optional(db)
        .await?;
    Ok(id.map(Into::into))
}

/// Headers and nodes of runs, as far as they are there, in the order of their ids.
pub(crate) async fn views(
    db: &mut SqliteConnection,
    ids: impl Iterator<Item = &RunId>,
) -> Result<Vec<ViewRows>, Error> {
    let ids = serde_json::to_string(&ids.map(RunId::as_str).collect::<Vec<_>>())?;
    let rows = sqlx::query(include_str!("sql/load_runs.sql"))
        .bind(&ids)
        .fetch_all(&mut *db)
        .await?;
    rows.iter().map(|row| cells(row).view()).collect()
}

/// Revisions of runs, as far as they are there.
pub(crate) async fn revisions(
    db: &mut SqliteConnection,
    runs: &BTreeSet<RunId>,
) -> Result<BTreeMap<RunId, u64>, Error> {
    let ids = runs.iter().map(RunId::as_str).collect::<Vec<_>>();
    let rows = sqlx::query(include_str!("sql/lock_runs.sql"))
        .bind(serde_json::to_string(&ids)?)
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

/// Header and nodes of a run, if it is there.
pub(crate) async fn view(db: &mut SqliteConnection, id: &RunId) -> Result<Option<ViewRows>, Error> {
    Ok(views(db, std::iter::once(id)).await?.pop())
}

/// Steps of runs, as far as they are there, run by run in the order asked for.
pub(crate) async fn steps_of(
    db: &mut SqliteConnection,
    wanted: &[(RunId, StepSet)],
) -> Result<Vec<(RunId, Step)>, Error> {
    let keys = wanted.iter().filter_map(|(run, which)| match which {
        StepSet::One(step) => Some(FullKey::new(run, step)),
        _ => None,
    });
    let mut single = steps_by_key(db, keys.collect()).await?;
    let mut found = Vec::new();
    for (run, which) in wanted {
        let of_run = match which {
            StepSet::Empty => Vec::new(),
            StepSet::One(step) => {
                let step = single.remove(&(run.clone(), step.clone()));
                step.into_iter().collect()
            }
            StepSet::Unsettled => steps(db, run, false).await?,
            StepSet::All => steps(db, run, true).await?,
        };
        found.extend(of_run.into_iter().map(|step| (run.clone(), step)));
    }
    Ok(found)
}

async fn steps_by_key(
    db: &mut SqliteConnection,
    keys: Vec<FullKey<'_>>,
) -> Result<HashMap<(RunId, StepId), Step>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(include_str!("sql/load_steps_by_key.sql"))
        .bind(serde_json::to_string(&keys)?)
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| {
            let step = cells(row).step()?;
            Ok(((cells(row).run_id()?, step.id.clone()), step))
        })
        .collect()
}

/// Steps of a run, in the order of the definition and of its lists.
async fn steps(db: &mut SqliteConnection, run: &RunId, settled: bool) -> Result<Vec<Step>, Error> {
    let rows = sqlx::query(include_str!("sql/load_steps.sql"))
        .bind(run.as_str())
        .bind(settled)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).step()).collect()
}

/// Outputs of nodes of runs, those without steps left out.
pub(crate) async fn outputs(
    db: &mut SqliteConnection,
    wanted: &[(RunId, Vec<String>)],
) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, Error> {
    let keys: Vec<NodeKey<'_>> = wanted
        .iter()
        .flat_map(|(run, nodes)| nodes.iter().map(|node| NodeKey::new(run, node)))
        .collect();
    let rows = sqlx::query(include_str!("sql/load_outputs.sql"))
        .bind(serde_json::to_string(&keys)?)
        .fetch_all(db)
        .await?;
    let mut outputs: BTreeMap<RunId, BTreeMap<String, Value>> = BTreeMap::new();
    for row in &rows {
        let row = cells(row);
        let step = row.step_id()?;
        let output = row.optional_json("output")?.unwrap_or(Value::Null);
        let of_node = outputs.entry(row.run_id()?).or_default().entry(step.node);
        match (step.item, of_node.or_default()) {
            (None, of_node) => *of_node = output,
            (Some(_), Value::Array(list)) => list.push(output),
            (Some(_), of_node) => *of_node = Value::Array(vec![output]),
        }
    }
    Ok(outputs)
}

pub(crate) async fn snapshot(db: &mut SqliteConnection, id: &RunId) -> Result<Snapshot, Error> {
    let view = view(db, id).await?;
    let view = view.ok_or_else(|| StoreError::NoRun(id.clone()))?;
    let rows = Rows {
        steps: sqlx::query(include_str!("sql/load_steps.sql"))
            .bind(id.as_str())
            .bind(true)
            .fetch_all(&mut *db)
            .await?,
        attempts: of_run(db, include_str!("sql/load_attempts.sql"), id).await?,
        checkpoint_objects: of_run(db, include_str!("sql/load_checkpoint_objects.sql"), id).await?,
        artifacts: of_run(db, include_str!("sql/load_artifacts.sql"), id).await?,
        made: of_run(db, include_str!("sql/load_made.sql"), id).await?,
    };
    rows.snapshot(view)
}

/// What a snapshot is made of, each in its order.
pub(crate) struct Rows {
    pub(crate) steps: Vec<SqliteRow>,
    pub(crate) attempts: Vec<SqliteRow>,
    pub(crate) checkpoint_objects: Vec<SqliteRow>,
    pub(crate) artifacts: Vec<SqliteRow>,
    pub(crate) made: Vec<SqliteRow>,
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
        for row in &self.checkpoint_objects {
            let row = cells(row);
            let objects: Vec<StoredArtifact> = row.json("objects")?;
            records.of(&row.step_id()?)?.artifacts.extend(objects);
        }
        for row in &self.artifacts {
            let row = cells(row);
            records.of(&row.step_id()?)?.artifacts.push(row.artifact()?);
        }
        for row in &self.made {
            let row = cells(row);
            if let Some(record) = records.find(&row.step_id()?) {
                record.made = Some(row.json("value")?);
            }
        }
        for record in &mut records.steps {
            list_once(&mut record.artifacts);
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

/// Leaves each object at the place where it was named first, as it was named last.
fn list_once(objects: &mut Vec<StoredArtifact>) {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut once: Vec<StoredArtifact> = Vec::with_capacity(objects.len());
    for object in objects.drain(..) {
        match places.get(&object.key) {
            Some(place) => once[*place].replace(object),
            None => {
                places.insert(object.key.clone(), once.len());
                once.push(object);
            }
        }
    }
    *objects = once;
}

async fn of_run(
    db: &mut SqliteConnection,
    sql: &'static str,
    run: &RunId,
) -> Result<Vec<SqliteRow>, Error> {
    Ok(sqlx::query(sql).bind(run.as_str()).fetch_all(db).await?)
}

/// The steps of a snapshot while attempts and artifacts are added to them.
struct Records {
    steps: Vec<StepRecord>,
    places: HashMap<StepId, usize>,
}

impl Records {
    fn new(rows: &[SqliteRow]) -> Result<Self, Error> {
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

    fn of(&mut self, step: &StepId) -> Result<&mut StepRecord, Error> {
        self.find(step)
            .ok_or_else(|| StoreError::Corrupt(format!("there is no step {step}")).into())
    }
}

pub(crate) async fn events(
    db: &mut SqliteConnection,
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

pub(crate) async fn plan(
    db: &mut SqliteConnection,
    run: &RunId,
) -> Result<Option<RetryPlan>, Error> {
    let row = sqlx::query(include_str!("sql/load_plan.sql"))
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(stored_plan).transpose()
}

/// A plan of any run.
pub(crate) async fn find_plan(
    db: &mut SqliteConnection,
    plan: &PlanId,
) -> Result<Option<RetryPlan>, Error> {
    let row = sqlx::query(include_str!("sql/find_plan.sql"))
        .bind(plan.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(stored_plan).transpose()
}

fn stored_plan(row: &SqliteRow) -> Result<RetryPlan, Error> {
    let row = cells(row);
    let state: PlanState = serde_json::from_value(row.text("state")?.into())?;
    Ok(RetryPlan {
        state,
        ..row.json("body")?
    })
}

/// Plans whose objects nobody has looked at.
pub(crate) async fn unproved_plans(
    db: &mut SqliteConnection,
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
    db: &mut SqliteConnection,
    run: &RunId,
) -> Result<Option<PlanHead>, Error> {
    let row = sqlx::query(include_str!("sql/plan_head.sql"))
        .bind(run.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).plan_head()).transpose()
}

pub(crate) async fn definition(
    db: &mut SqliteConnection,
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
            version: row.number("version")?,
            canonical: row.text("canonical")?,
        })
    })
    .transpose()
}

pub(crate) async fn publication(
    db: &mut SqliteConnection,
    name: &str,
) -> Result<Option<u64>, Error> {
    let row = sqlx::query("select generation from publication where name = $1")
        .bind(name)
        .fetch_optional(db)
        .await?;
    row.map(|row| cells(&row).number("generation")).transpose()
}

pub(crate) async fn published_by(
    db: &mut SqliteConnection,
    run: &RunId,
) -> Result<BTreeSet<StepId>, Error> {
    let rows = sqlx::query("select node, item from generation where run = $1 and node is not null")
        .bind(run.as_str())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).step_id()).collect()
}

pub(crate) async fn due(
    db: &mut SqliteConnection,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<Due>, Error> {
    let rows = sqlx::query(include_str!("sql/due.sql"))
        .bind(now.timestamp_millis())
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

pub(crate) async fn next_due(db: &mut SqliteConnection) -> Result<Option<DateTime<Utc>>, Error> {
    let millis: Option<i64> = sqlx::query_scalar(include_str!("sql/next_due.sql"))
        .fetch_one(db)
        .await?;
    Ok(millis.map(clock::from_millis))
}
