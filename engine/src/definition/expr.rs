//! Expressions: CEL, compiled once, checked before a run and bounded while it runs.

mod analysis;
mod compile;
mod convert;
mod evaluate;
mod meter;
mod scope;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub(super) use compile::skip_literal;
pub(super) use convert::OutputBudget;
pub use scope::Scope;

/// A CEL expression, compiled. Equal when its text is equal; cheap to clone.
///
/// Differences from plain CEL, all in the direction of fewer surprises:
///
/// * integers of JSON are `int`, so that `steps.a.output.n - 1` works;
/// * `has(a.b)` is false when `a` is null (plain CEL: an error);
/// * a plain path (`steps.probe.output`) yields the JSON as it is, without a conversion;
/// * text, nesting, work and result are bounded (see [`crate::limits`]).
#[derive(Clone)]
pub struct Expr {
    text: String,
    compiled: Arc<compile::Compiled>,
}

/// One place where an expression names data, such as `steps.cover.output.playlist`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The names, root first, up to the first that is not written literally.
    pub path: Vec<String>,
    /// Whether a `null` output of the step is harmless here: it is only compared with `null`,
    /// read with `.?` or inside `has()`, or read where such a test has already excluded it.
    /// Always true for what is not the output of a step.
    pub null_safe: bool,
    /// Bytes of the reference in the text of the expression.
    pub span: Range<usize>,
}

impl Reference {
    /// The step whose output this is.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match self.path.as_slice() {
            [root, step, ..] if root == "steps" => Some(step),
            _ => None,
        }
    }
}

/// An expression that cannot be compiled, or failed in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// Stable, `snake_case`.
    pub code: &'static str,
    /// Lowercase, one sentence.
    pub message: String,
    /// The text of the expression.
    pub expression: Box<str>,
    /// Where the expression is: a JSON pointer into the template, empty for a lone expression.
    pub pointer: Box<str>,
    /// Bytes of the expression that are to blame, as far as known.
    pub span: Range<usize>,
    /// What would be right, as far as known.
    pub help: Option<Box<str>>,
}

impl ExprError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            expression: Box::default(),
            pointer: Box::default(),
            span: 0..0,
            help: None,
        }
    }

    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = span;
        self
    }

    pub(crate) fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help.map(Into::into);
        self
    }

    fn of(mut self, expression: &str) -> Self {
        if self.span.is_empty() {
            self.span = 0..expression.len();
        }
        self.expression = expression.into();
        self
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An expression of four kilobytes would drown the sentence.
        let shown: Cow<'_, str> = match self.expression.char_indices().nth(120) {
            Some((end, _)) => format!("{}...", &self.expression[..end]).into(),
            None => Cow::Borrowed(&*self.expression),
        };
        write!(f, "{} (in `{shown}`", self.message)?;
        if !self.pointer.is_empty() {
            write!(f, " at {}", self.pointer)?;
        }
        write!(f, ")")
    }
}

impl std::error::Error for ExprError {}

impl Expr {
    /// Compiles the text of an expression; white space around it does not count.
    ///
    /// # Errors
    /// `bad_expression` with the place of the mistake, `unknown_function`, or `limit_exceeded`.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let text = text.trim();
        let compiled = compile::compile(text).map_err(|e| e.of(text))?;
        Ok(Self {
            text: text.to_owned(),
            compiled: Arc::new(compiled),
        })
    }

    /// The text, without white space around it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every place where the expression names data, in the order of the text.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        self.compiled.references()
    }

    /// The value of the expression as JSON. Times become RFC 3339 text, durations text such as
    /// `1m30s`, an empty optional `null`; bytes have no JSON.
    ///
    /// # Errors
    /// `null_member` and `no_such_member` name what was read from what; `limit_exceeded` names
    /// its limit; the other codes are of the kind `bad_operand`, `index_out_of_range`.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        evaluate::evaluate(&self.compiled, scope).map_err(|e| e.of(&self.text))
    }

    /// The value of a condition.
    ///
    /// # Errors
    /// Those of [`Expr::eval`]; `not_a_boolean` if it is anything but `true` or `false`.
    pub fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(value) => Ok(value),
            other => Err(self.wrong_type("not_a_boolean", "true or false", &other)),
        }
    }

    /// The items of a `for_each`.
    ///
    /// # Errors
    /// Those of [`Expr::eval`]; `not_a_list` if it is anything but a list.
    pub fn eval_list(&self, scope: &Scope<'_>) -> Result<Vec<Value>, ExprError> {
        match self.eval(scope)? {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong_type("not_a_list", "a list", &other)),
        }
    }

    fn wrong_type(&self, code: &'static str, want: &str, got: &Value) -> ExprError {
        ExprError::new(
            code,
            format!(
                "the expression must give {want} but gave {}",
                json_type(got)
            ),
        )
        .of(&self.text)
    }
}

/// The name of a JSON type for a sentence: "a list", "null".
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.text).finish()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expr {}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
