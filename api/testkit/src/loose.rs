//! Activities whose schemas do not say what they should.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telecine::activity::{Activity, ActivityError, Context};

/// Takes a number, and overlooks whatever else it is given.
#[derive(Debug)]
pub(crate) struct Unclosed;

/// Not closed by `deny_unknown_fields`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Number {
    number: u32,
}

impl Activity for Unclosed {
    const NAME: &'static str = "loose.unclosed";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Takes unknown fields.";
    type Input = Number;
    type Output = u32;

    async fn run(&self, _: &Context, input: Number) -> Result<u32, ActivityError> {
        Ok(input.number)
    }
}

/// Takes anything.
#[derive(Debug)]
pub(crate) struct Untyped;

/// A schema without rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Anything {
    anything: Value,
}

impl Activity for Untyped {
    const NAME: &'static str = "loose.untyped";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Takes anything.";
    type Input = Anything;
    type Output = Value;

    async fn run(&self, _: &Context, input: Anything) -> Result<Value, ActivityError> {
        Ok(input.anything)
    }
}

/// Returns what its schema does not allow.
#[derive(Debug)]
pub(crate) struct Mistyped;

/// No input at all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Claims to be a number.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Claimed {
    #[schemars(with = "u32")]
    number: &'static str,
}

impl Activity for Mistyped {
    const NAME: &'static str = "loose.mistyped";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Returns a text where its schema says a number.";
    type Input = Nothing;
    type Output = Claimed;

    async fn run(&self, _: &Context, _: Nothing) -> Result<Claimed, ActivityError> {
        Ok(Claimed { number: "seven" })
    }
}
