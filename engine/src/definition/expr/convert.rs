//! Between JSON and the values of CEL.

use std::collections::HashMap;

use cel::objects::{Key, Map, OptionalValue};
use serde_json::{Number, Value};

use super::ExprError;
use crate::definition::units::format_duration;
use crate::limits;

/// JSON as CEL sees it: every integer that fits is `int`, because `uint - int` is an error.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => number_to_cel(number),
        Value::String(text) => cel::Value::String(text.clone().into()),
        Value::Array(items) => {
            cel::Value::List(items.iter().map(to_cel).collect::<Vec<_>>().into())
        }
        Value::Object(members) => map(members
            .iter()
            .map(|(name, value)| (name.as_str(), to_cel(value)))),
    }
}

/// A map of CEL with text keys.
pub(super) fn map<'a>(members: impl Iterator<Item = (&'a str, cel::Value)>) -> cel::Value {
    let members: HashMap<Key, cel::Value> = members
        .map(|(name, value)| (Key::String(name.to_owned().into()), value))
        .collect();
    cel::Value::Map(Map {
        map: members.into(),
    })
}

fn number_to_cel(number: &Number) -> cel::Value {
    if let Some(int) = number.as_i64() {
        cel::Value::Int(int)
    } else if let Some(uint) = number.as_u64() {
        cel::Value::UInt(uint)
    } else {
        cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// The result of an expression as JSON, no larger than [`limits::EXPRESSION_OUTPUT_BYTES`].
pub(super) fn to_json(value: &cel::Value) -> Result<Value, ExprError> {
    let mut budget = OutputBudget::default();
    convert(value, &mut budget)
}

/// Bytes of JSON that may still be made.
#[derive(Debug)]
pub(in crate::definition) struct OutputBudget(usize);

impl Default for OutputBudget {
    fn default() -> Self {
        Self(limits::EXPRESSION_OUTPUT_BYTES)
    }
}

impl OutputBudget {
    /// Takes a copy of `value` from the budget.
    pub(in crate::definition) fn take(&mut self, value: &Value) -> Result<(), ExprError> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.take_bytes(8),
            Value::String(text) => self.take_bytes(text.len() + 2),
            Value::Array(items) => {
                self.take_bytes(2)?;
                items.iter().try_for_each(|item| self.take(item))
            }
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.take_bytes(name.len() + 4)?;
                self.take(value)
            }),
        }
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), ExprError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            ExprError::new(
                "limit_exceeded",
                format!(
                    "the result is larger than {} MiB (limits::EXPRESSION_OUTPUT_BYTES)",
                    limits::EXPRESSION_OUTPUT_BYTES / 1024 / 1024
                ),
            )
        })?;
        Ok(())
    }
}

fn convert(value: &cel::Value, budget: &mut OutputBudget) -> Result<Value, ExprError> {
    let json = match value {
        cel::Value::List(items) => {
            budget.take_bytes(2)?;
            let items = items.iter().map(|item| convert(item, budget));
            return Ok(Value::Array(items.collect::<Result<_, _>>()?));
        }
        cel::Value::Map(map) => {
            let members = map.map.iter().map(|(key, value)| {
                let name = key.to_string();
                budget.take_bytes(name.len() + 4)?;
                Ok((name, convert(value, budget)?))
            });
            return Ok(Value::Object(members.collect::<Result<_, ExprError>>()?));
        }
        cel::Value::Opaque(_) => return convert_optional(value, budget),
        scalar => convert_scalar(scalar)?,
    };
    budget.take(&json)?;
    Ok(json)
}

fn convert_optional(value: &cel::Value, budget: &mut OutputBudget) -> Result<Value, ExprError> {
    let optional = <&OptionalValue>::try_from(value).map_err(|_| no_json(value))?;
    optional
        .value()
        .map_or(Ok(Value::Null), |value| convert(value, budget))
}

fn convert_scalar(value: &cel::Value) -> Result<Value, ExprError> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(value) => Value::Bool(*value),
        cel::Value::Int(value) => Value::from(*value),
        cel::Value::UInt(value) => Value::from(*value),
        cel::Value::Float(value) => Value::Number(Number::from_f64(*value).ok_or_else(|| {
            ExprError::new("bad_result", format!("the result {value} is not a number"))
        })?),
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::Timestamp(time) => Value::String(time.to_rfc3339()),
        cel::Value::Duration(duration) => Value::String(duration_text(duration)),
        other => return Err(no_json(other)),
    })
}

fn duration_text(duration: &chrono::Duration) -> String {
    match duration.to_std() {
        Ok(positive) => format_duration(positive),
        Err(_) => format!(
            "-{}",
            format_duration(duration.abs().to_std().unwrap_or_default())
        ),
    }
}

fn no_json(value: &cel::Value) -> ExprError {
    ExprError::new(
        "bad_result",
        format!(
            "the result is of type {}, which JSON does not have",
            value.type_of()
        ),
    )
}
