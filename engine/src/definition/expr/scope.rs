//! What an expression can see.

use std::collections::BTreeMap;

use serde_json::Value;

/// The data of one evaluation. What is not set does not exist for the expression.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    input: Option<&'a Value>,
    steps: BTreeMap<&'a str, &'a Value>,
    each: Option<&'a Value>,
    error: Option<&'a Value>,
    attempt: Option<u32>,
}

impl<'a> Scope<'a> {
    /// An empty scope.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `input`, the checked input of the run.
    #[must_use]
    pub fn input(mut self, input: &'a Value) -> Self {
        self.input = Some(input);
        self
    }

    /// Sets `steps.NAME.output`. A step that was skipped, or failed under
    /// `on_failure: continue`, has `Value::Null`.
    #[must_use]
    pub fn step(mut self, name: &'a str, output: &'a Value) -> Self {
        self.steps.insert(name, output);
        self
    }

    /// Sets `each`, the item of a `for_each`.
    #[must_use]
    pub fn each(mut self, item: &'a Value) -> Self {
        self.each = Some(item);
        self
    }

    /// Sets `error`: `{class, code, message}` of the attempt that failed.
    #[must_use]
    pub fn error(mut self, error: &'a Value) -> Self {
        self.error = Some(error);
        self
    }

    /// Sets `attempt`: the number of the attempt that failed, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    pub(super) fn step_output(&self, name: &str) -> Option<&'a Value> {
        self.steps.get(name).copied()
    }

    pub(super) fn attempt_number(&self) -> Option<u32> {
        self.attempt
    }

    /// A root that is plain JSON.
    pub(super) fn root(&self, name: &str) -> Option<&'a Value> {
        match name {
            "input" => self.input,
            "each" => self.each,
            "error" => self.error,
            _ => None,
        }
    }
}
