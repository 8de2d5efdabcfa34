//! Steps that do next to nothing, and the workflows made of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context, Registry};

/// Three steps, one after the other. Each adds one, so that the result tells that all of them ran.
pub(crate) const CHAIN: &str = "
workflow: bench:chain
version: 1
input: {type: object, properties: {n: {type: integer}}}
steps:
  a: {activity: bench.increment@1, with: {n: '${{ input.n }}'}}
  b: {activity: bench.increment@1, with: {n: '${{ steps.a.output.n }}'}}
  c: {activity: bench.increment@1, with: {n: '${{ steps.b.output.n }}'}}
output: {n: '${{ steps.c.output.n }}'}
";

/// As many steps as its input says, all at once.
pub(crate) const FAN_OUT: &str = "
workflow: bench:fan-out
version: 1
input: {type: object, properties: {n: {type: integer}}}
steps:
  list: {activity: bench.list@1, with: {n: '${{ input.n }}'}}
  each: {activity: bench.leaf@1, for_each: steps.list.output.items, with: {n: '${{ each }}'}}
output: {}
";

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Number {
    n: i64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Numbers {
    items: Vec<i64>,
}

#[derive(Debug)]
struct Increment;

impl Activity for Increment {
    const NAME: &'static str = "bench.increment";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Adds one.";
    type Input = Number;
    type Output = Number;

    async fn run(&self, _: &Context, Number { n }: Number) -> Result<Number, ActivityError> {
        Ok(Number { n: n + 1 })
    }
}

#[derive(Debug)]
struct List;

impl Activity for List {
    const NAME: &'static str = "bench.list";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Lists the numbers below one.";
    type Input = Number;
    type Output = Numbers;

    async fn run(&self, _: &Context, Number { n }: Number) -> Result<Numbers, ActivityError> {
        let items = (0..n).collect();
        Ok(Numbers { items })
    }
}

#[derive(Debug)]
struct Leaf;

impl Activity for Leaf {
    const NAME: &'static str = "bench.leaf";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Gives back what it is given.";
    type Input = Number;
    type Output = Number;

    async fn run(&self, _: &Context, number: Number) -> Result<Number, ActivityError> {
        Ok(number)
    }
}

/// What a worker has; not every worker can run the steps of a fan-out.
pub(crate) fn registry(with_leaf: bool) -> Registry {
    let mut registry = Registry::default();
    registry.register(Increment).unwrap();
    registry.register(List).unwrap();
    if with_leaf {
        registry.register(Leaf).unwrap();
    }
    registry
}
