use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::{Activity, ActivityError, Context};
use crate::definition::ActivityCatalog;

/// What is known about an installed activity without running it.
#[derive(Debug, Clone, Serialize)]
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
}

/// An activity whose types are erased to JSON. Implemented for every [`Activity`].
pub trait DynActivity: Debug + Send + Sync {
    /// Name, version and schemas.
    fn info(&self) -> ActivityInfo;
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
    fn info(&self) -> ActivityInfo {
        ActivityInfo {
            name: A::NAME,
            version: A::VERSION,
            description: A::DESCRIPTION,
            input_schema: schemars::schema_for!(A::Input).to_value(),
            output_schema: schemars::schema_for!(A::Output).to_value(),
        }
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

/// The same activity was registered twice.
#[derive(Debug, thiserror::Error)]
#[error("activity {name}@{version} is already registered")]
pub struct RegisterError {
    name: &'static str,
    version: u32,
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
    /// If an activity of that name and version is there already.
    pub fn register<A: Activity>(&mut self, activity: A) -> Result<&mut Self, RegisterError> {
        let key = (A::NAME.to_owned(), A::VERSION);
        if self.activities.contains_key(&key) {
            return Err(RegisterError {
                name: A::NAME,
                version: A::VERSION,
            });
        }
        self.activities.insert(key, Arc::new(activity));
        Ok(self)
    }

    /// The activity of that name and version.
    #[must_use]
    pub fn get(&self, name: &str, version: u32) -> Option<Arc<dyn DynActivity>> {
        self.activities.get(&(name.to_owned(), version)).cloned()
    }

    /// Every activity, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn DynActivity>> {
        self.activities.values()
    }
}

impl ActivityCatalog for Registry {
    fn input_schema(&self, name: &str, version: u32) -> Option<Value> {
        Some(self.get(name, version)?.info().input_schema)
    }

    fn output_schema(&self, name: &str, version: u32) -> Option<Value> {
        Some(self.get(name, version)?.info().output_schema)
    }

    fn names(&self) -> Vec<String> {
        let keys = self.activities.keys();
        keys.map(|(name, version)| format!("{name}@{version}"))
            .collect()
    }
}
