//! What would be reused, and why not: looks at keys, and changes nothing. The rules of keys are in
//! [`retry::reuse`](crate::retry::reuse).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activity::Registry;
use crate::definition::{Cache, Definition};
use crate::id::{RunId, StepId};
use crate::objects::{MEDIA_SCHEME, ObjectError, ObjectStores};
use crate::retry::reuse::{self, Difference, Made, Marks, Origin, ReuseKey, SourceIdentity};
use crate::run::{Run, Snapshot, StepRecord, StoreUrls};
use crate::store::{RunFilter, Store, StoreError, Window};

/// Runs of a workflow that are looked at for a step to compare with.
const RUNS_COMPARED: usize = 10;

/// Where keys are looked up, and what they are made of is looked at.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Sources and results.
    pub objects: Arc<dyn ObjectStores>,
    /// Activities as they are installed.
    pub registry: Arc<Registry>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store cannot be used.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The run has no such step.
    #[error("the job has no step {0}")]
    NoStep(StepId),
}

/// The same step of another run of the workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The run.
    pub job: RunId,
    /// The first component in which the key here differs from the one there; `None` if in none.
    pub difference: Option<Difference>,
}

/// What the reuse key of a step was, and what it would be now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// As it was recorded when the step succeeded; `None` if it has not, or its activity names no tools.
    pub before: Option<ReuseKey>,
    /// With the activity, its tools and the sources of now; `None` if one of them is gone.
    pub now: Option<ReuseKey>,
    /// The first component that differs.
    pub difference: Option<Difference>,
    /// The step that the output was taken from, if it was taken.
    pub taken_from: Option<Origin>,
    /// Of a step that took nothing: the latest other run of the workflow in which the same step has a key.
    pub latest: Option<Compared>,
}

/// What a step with a cache would do in a run that begins now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Foresight {
    /// The step.
    pub step: StepId,
    /// The step whose output it would take, if its objects are as they were.
    pub from: Option<Origin>,
    /// What is another than in the latest run of the workflow, if it would take nothing.
    pub differs: Option<Difference>,
}

/// What a run would begin with.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// What it executes.
    pub definition: &'a Definition,
    /// Its input, with defaults.
    pub input: &'a Value,
    /// Its stores.
    pub stores: &'a StoreUrls,
}

impl Lookup {
    /// Compares the key of a step with what it would be now.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn explain(&self, run: &RunId, step: &StepId) -> Result<Explanation, LookupError> {
        let window = Window::One(step.clone());
        let snapshot = self.store.outline(run, &window).await?.snapshot;
        let record = snapshot.steps.iter().find(|it| it.step.id == *step);
        let record = record.ok_or_else(|| LookupError::NoStep(step.clone()))?;
        let before = reuse::recorded(record);
        let activity = &record.step.activity;
        let now = match &record.step.input {
            Some(input) => self.key(activity, input, &snapshot.run.stores).await?,
            None => None,
        };
        let made = record.made.as_ref();
        let taken_from = made.and_then(|made| made.reused_from.clone());
        let latest = match (before.as_ref().or(now.as_ref()), &taken_from) {
            (Some(key), None) => self.compared(key, (&snapshot.run, step)).await?,
            _ => None,
        };
        let pair = before.as_ref().zip(now.as_ref());
        Ok(Explanation {
            difference: pair.and_then(|(before, now)| reuse::explain(before, now)),
            before,
            now,
            taken_from,
            latest,
        })
    }

    /// How a key differs from that of the same step in the latest other run that has one, among the last few.
    async fn compared(
        &self,
        key: &ReuseKey,
        (run, step): (&Run, &StepId),
    ) -> Result<Option<Compared>, LookupError> {
        let filter = RunFilter {
            workflow: Some(run.workflow.clone()),
            limit: RUNS_COMPARED,
            ..RunFilter::default()
        };
        let page = self.store.list_runs(&filter).await?;
        let window = Window::One(step.clone());
        for other in page.runs.iter().filter(|other| other.id != run.id) {
            let outline = match self.store.outline(&other.id, &window).await {
                Err(StoreError::NoRun(_)) => continue,
                outline => outline?,
            };
            let mut records = outline.snapshot.steps.iter();
            let record = records.find(|record| record.step.id == *step);
            if let Some(there) = record.and_then(reuse::recorded) {
                return Ok(Some(Compared {
                    job: other.id.clone(),
                    difference: reuse::explain(&there, key),
                }));
            }
        }
        Ok(None)
    }

    /// The key that a step would have now; `None` if the activity is not installed or names no tools, or
    /// a source is gone.
    async fn key(
        &self,
        activity: &str,
        input: &Value,
        stores: &StoreUrls,
    ) -> Result<Option<ReuseKey>, LookupError> {
        let made = self.made(activity, input, stores).await?;
        Ok(made.map(|made| reuse::key(activity, input, &made)))
    }

    async fn made(
        &self,
        activity: &str,
        input: &Value,
        stores: &StoreUrls,
    ) -> Result<Option<Made>, LookupError> {
        let installed = activity
            .split_once('@')
            .and_then(|(name, version)| self.registry.get(name, version.parse().ok()?));
        let Some(installed) = installed.filter(|it| !it.tool_fingerprint().is_empty()) else {
            return Ok(None);
        };
        let marks = Marks::of(&installed.info().input_schema, input);
        let mut made = Made {
            tools: installed.tool_fingerprint(),
            places: marks.places,
            ..Made::default()
        };
        for pointer in marks.sources {
            let named = input.pointer(&pointer).and_then(Value::as_str);
            let found = match named {
                Some(named) => self.identify(named, stores).await?,
                None => None,
            };
            let Some(found) = found else { return Ok(None) };
            made.sources.insert(pointer, found);
        }
        Ok(Some(made))
    }

    async fn identify(
        &self,
        named: &str,
        stores: &StoreUrls,
    ) -> Result<Option<SourceIdentity>, LookupError> {
        let (store, key) = match named.strip_prefix(MEDIA_SCHEME) {
            Some(key) => (self.objects.open(&stores.media)?, key),
            None => (self.objects.open_source(&stores.source)?, named),
        };
        let found = store.head(key).await?;
        Ok(found.as_ref().map(SourceIdentity::from))
    }

    /// What the steps with a cache would do in a run that begins now, as far as their inputs follow from
    /// what would be taken. Steps without a cache are taken to give what they gave a run whose output is
    /// taken, for the same input.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn foresee(&self, begins: Beginning<'_>) -> Result<Vec<Foresight>, LookupError> {
        let mut forecast = Forecast {
            lookup: self,
            begins,
            latest: self.latest(begins.definition).await?,
            taken: None,
            seen: BTreeMap::new(),
            outputs: BTreeMap::new(),
        };
        loop {
            let known = forecast.seen.len() + forecast.outputs.len();
            forecast.go_on().await?;
            if forecast.seen.len() + forecast.outputs.len() == known {
                return Ok(forecast.seen.into_values().collect());
            }
        }
    }

    async fn taken(
        &self,
        key: &ReuseKey,
        stores: &StoreUrls,
    ) -> Result<Option<(Origin, StepRecord)>, LookupError> {
        let found = self.store.find_shared(&key.digest, &stores.media).await?;
        let Some(sharer) = found else { return Ok(None) };
        // A run of 10,000 chunks is looked at 10,000 times.
        let window = Window::One(sharer.step.clone());
        let outline = match self.store.outline(&sharer.run, &window).await {
            Err(StoreError::NoRun(_)) => return Ok(None),
            outline => outline?,
        };
        let mut records = outline.snapshot.steps.into_iter();
        let still = records.find(|record| {
            record.step.id == sharer.step && reuse::recorded(record).as_ref() == Some(key)
        });
        let origin = Origin {
            job: sharer.run,
            step: sharer.step,
        };
        Ok(still.map(|record| (origin, record)))
    }

    /// The latest run of a workflow.
    async fn latest(&self, definition: &Definition) -> Result<Option<Snapshot>, LookupError> {
        let filter = RunFilter {
            workflow: Some(definition.name.clone()),
            limit: 1,
            ..RunFilter::default()
        };
        let page = self.store.list_runs(&filter).await?;
        match page.runs.first() {
            Some(run) => Ok(Some(self.store.snapshot(&run.id).await?)),
            None => Ok(None),
        }
    }
}

/// What is known of a run that begins now.
struct Forecast<'a> {
    lookup: &'a Lookup,
    begins: Beginning<'a>,
    /// The latest run of the workflow.
    latest: Option<Snapshot>,
    /// The first run of which an output would be taken.
    taken: Option<Snapshot>,
    seen: BTreeMap<StepId, Foresight>,
    /// Of single steps.
    outputs: BTreeMap<String, Value>,
}

impl Forecast<'_> {
    /// Looks at the steps whose inputs are known by now.
    async fn go_on(&mut self) -> Result<(), LookupError> {
        let Beginning {
            definition, input, ..
        } = self.begins;
        for (id, input) in definition.known_inputs(input, &self.outputs) {
            if self.outputs.contains_key(&id.node) || self.seen.contains_key(&id) {
                continue;
            }
            let step = &definition.steps[&id.node];
            if step.cache == Cache::Off {
                let given = self.given(&id, &input);
                self.outputs.extend(given.map(|output| (id.node, output)));
            } else {
                self.look(id, (&step.activity.to_string(), &input)).await?;
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        id: StepId,
        (activity, input): (&str, &Value),
    ) -> Result<(), LookupError> {
        let stores = self.begins.stores;
        let key = self.lookup.key(activity, input, stores).await?;
        let taken = match &key {
            Some(key) => self.lookup.taken(key, stores).await?,
            None => None,
        };
        let mut foresight = Foresight {
            step: id.clone(),
            from: None,
            differs: None,
        };
        match taken {
            Some((origin, record)) => {
                let output = record.step.output.filter(|_| id.item.is_none());
                let named = output.map(|output| (id.node.clone(), output));
                self.outputs.extend(named);
                if self.taken.is_none() {
                    self.taken = Some(self.lookup.store.snapshot(&origin.job).await?);
                }
                foresight.from = Some(origin);
            }
            None => foresight.differs = key.and_then(|key| self.differs(&id, &key)),
        }
        self.seen.insert(id, foresight);
        Ok(())
    }

    /// What a single step without a cache gave for the same input.
    fn given(&self, id: &StepId, input: &Value) -> Option<Value> {
        let mut records = self.taken.iter().flat_map(|run| &run.steps);
        let record = records.find(|record| record.step.id == *id && id.item.is_none())?;
        let is_same = record.step.input.as_ref() == Some(input);
        record.step.output.clone().filter(|_| is_same)
    }

    /// The first difference to the step of the latest run.
    fn differs(&self, id: &StepId, key: &ReuseKey) -> Option<Difference> {
        let mut records = self.latest.iter().flat_map(|run| &run.steps);
        let record = records.find(|record| record.step.id == *id)?;
        reuse::explain(&reuse::recorded(record)?, key)
    }
}
