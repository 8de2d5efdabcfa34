use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::{Activity, ActivityError, Context};
use crate::definition::{ActivityCatalog, ActivityRef, Checker};

/// What is known about an installed activity without running it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ActivityInfo {
    /// `area.verb`.
    pub name: &'static str,
    /// Behaviour version.
    pub version: u32,
    /// One sentence.
    pub description: &'static str,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// See [`Activity::MENDS`].
    pub mends: bool,
}

/// An activity whose types are erased to JSON. Implemented for every [`Activity`].
pub trait DynActivity: Debug + Send + Sync {
    /// Name, version and schemas.
    fn info(&self) -> Arc<ActivityInfo>;
    /// See [`Activity::tool_fingerprint`].
    fn tool_fingerprint(&self) -> String;
    /// Runs one attempt on JSON.
    fn run<'a>(
        &'a self,
        ctx: &'a Context,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, ActivityError>>;
}

impl<A: Activity> DynActivity for A {
    fn info(&self) -> Arc<ActivityInfo> {
        Arc::new(ActivityInfo {
            name: A::NAME,
            version: A::VERSION,
            description: A::DESCRIPTION,
            input_schema: schemars::schema_for!(A::Input).to_value(),
            output_schema: schemars::schema_for!(A::Output).to_value(),
            mends: A::MENDS,
        })
    }

    fn tool_fingerprint(&self) -> String {
        Activity::tool_fingerprint(self)
    }

    fn run<'a>(
        &'a self,
        ctx: &'a Context,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, ActivityError>> {
        Box::pin(async move {
            let input = serde_json::from_value(input)
                .map_err(|e| ActivityError::config("bad_activity_input", e.to_string()))?;
            let output = Activity::run(self, ctx, input).await?;
            serde_json::to_value(output)
                .map_err(|e| ActivityError::bug("bad_activity_output", e.to_string()))
        })
    }
}

/// An activity that is only given what its schema allows.
struct Checked<A> {
    activity: A,
    /// Made when it is first asked for: every attempt asks.
    info: OnceLock<Arc<ActivityInfo>>,
    /// Compiled when it is first needed; `None` if it is no schema.
    schema: OnceLock<Option<Checker>>,
}

impl<A: Activity> Checked<A> {
    fn check(&self, input: &Value) -> Result<(), ActivityError> {
        let compile = || Checker::new(&self.info().input_schema);
        let schema = self.schema.get_or_init(compile);
        let misfits = schema.as_ref().map(|schema| schema.check(input));
        let misfits: Vec<_> = misfits.iter().flatten().map(ToString::to_string).collect();
        if misfits.is_empty() {
            return Ok(());
        }
        Err(ActivityError::config(
            "bad_activity_input",
            format!("{} cannot take this input: {}", A::NAME, misfits.join("; ")),
        ))
    }
}

impl<A: Activity> DynActivity for Checked<A> {
    fn info(&self) -> Arc<ActivityInfo> {
        self.info.get_or_init(|| self.activity.info()).clone()
    }

    fn tool_fingerprint(&self) -> String {
        Activity::tool_fingerprint(&self.activity)
    }

    fn run<'a>(
        &'a self,
        ctx: &'a Context,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, ActivityError>> {
        match self.check(&input) {
            Ok(()) => DynActivity::run(&self.activity, ctx, input),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl<A: Debug> Debug for Checked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.activity.fmt(f)
    }
}

/// Why an activity cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is one of that name and version.
    #[error(
        "there are two activities {name}@{version}: call yours something else, or give it another version"
    )]
    Twice {
        /// Its name.
        name: &'static str,
        /// Its version.
        version: u32,
    },
    /// No workflow could name it.
    #[error(
        "{name:?} version {version} is no name of an activity: write lower-case words with a dot \
         between them, `area.verb`, and a version from 1"
    )]
    BadName {
        /// Its name.
        name: &'static str,
        /// Its version.
        version: u32,
    },
}

/// The activities that this process can run, by name and version.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    activities: BTreeMap<(String, u32), Arc<dyn DynActivity>>,
}

impl Registry {
    /// Adds an activity.
    ///
    /// # Errors
    /// If an activity of that name and version is there already, or no workflow could name it.
    pub fn register<A: Activity>(&mut self, activity: A) -> Result<&mut Self, RegisterError> {
        let (name, version) = (A::NAME, A::VERSION);
        if ActivityRef::parse(&format!("{name}@{version}")).is_none() {
            return Err(RegisterError::BadName { name, version });
        }
        let key = (name.to_owned(), version);
        if self.activities.contains_key(&key) {
            return Err(RegisterError::Twice { name, version });
        }
        let checked = Checked {
            activity,
            info: OnceLock::new(),
            schema: OnceLock::new(),
        };
        self.activities.insert(key, Arc::new(checked));
        Ok(self)
    }

    /// The activity of that name and version.
    #[must_use]
    pub fn get(&self, name: &str, version: u32) -> Option<Arc<dyn DynActivity>> {
        self.activities.get(&(name.to_owned(), version)).cloned()
    }

    /// The same activities, each inside what `wrap` makes around it: for metrics and test kits.
    #[must_use]
    pub fn wrapped(&self, wrap: impl Fn(Arc<dyn DynActivity>) -> Arc<dyn DynActivity>) -> Self {
        let activities = self.activities.iter();
        Self {
            activities: activities
                .map(|(key, activity)| (key.clone(), wrap(activity.clone())))
                .collect(),
        }
    }

    /// Every activity, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn DynActivity>> {
        self.activities.values()
    }
}

impl ActivityCatalog for Registry {
    fn input_schema(&self, name: &str, version: u32) -> Option<Value> {
        Some(self.get(name, version)?.info().input_schema.clone())
    }

    fn output_schema(&self, name: &str, version: u32) -> Option<Value> {
        Some(self.get(name, version)?.info().output_schema.clone())
    }

    fn names(&self) -> Vec<String> {
        let keys = self.activities.keys();
        keys.map(|(name, version)| format!("{name}@{version}"))
            .collect()
    }
}
