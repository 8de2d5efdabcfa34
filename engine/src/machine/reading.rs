use std::collections::BTreeMap;

use serde_json::Value;

use crate::activity::ErrorClass;
use crate::definition::{ExprError, Scope, StepDef};
use crate::id::StepId;
use crate::run::{Amendments, Failure};

/// What expressions of a run can see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The input of the run.
    pub(crate) input: &'a Value,
    /// Outputs by node.
    pub(crate) outputs: &'a BTreeMap<String, Value>,
    /// What executed plans put into inputs.
    pub(crate) amendments: &'a Amendments,
}

impl<'a> Known<'a> {
    pub(super) fn scope(&self, each: Option<&'a Value>) -> Scope<'a> {
        let mut scope = Scope::new().input(self.input);
        for (name, output) in self.outputs {
            scope = scope.step(name, output);
        }
        match each {
            Some(item) => scope.each(item),
            None => scope,
        }
    }
}

/// What a node's expressions say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// Its condition is false.
    Skip,
    /// The input of its only step.
    Single(Value),
    /// The inputs of the items of its list.
    Group(Vec<Value>),
}

/// Evaluates the expressions of a node.
///
/// # Errors
/// The failure of the node: what cannot be evaluated, or is not what it has to be.
pub(crate) fn read(
    (name, step): (&str, &StepDef),
    known: Known<'_>,
    check_size: impl FnOnce(usize) -> Result<(), Failure>,
) -> Result<Reading, Failure> {
    if let Some(when) = &step.when
        && !when
            .eval_bool(&known.scope(None))
            .map_err(|e| bad_expression("when", &e))?
    {
        return Ok(Reading::Skip);
    }
    let render = |id: &StepId, each| {
        let rendered = step.with.render(&known.scope(each));
        let mut input = rendered.map_err(|e| bad_expression("with", &e))?;
        let set = known.amendments.apply(id, &mut input);
        set.map(|()| input).map_err(|why| bad_parameter(&why))
    };
    let Some(for_each) = &step.for_each else {
        return render(&StepId::single(name), None).map(Reading::Single);
    };
    let items = for_each
        .eval_list(&known.scope(None))
        .map_err(|e| bad_expression("for_each", &e))?;
    check_size(items.len())?;
    (0..)
        .zip(&items)
        .map(|(place, item)| render(&StepId::item(name, place), Some(item)))
        .collect::<Result<_, _>>()
        .map(Reading::Group)
}

/// What somebody set cannot be part of an input that has become another one since.
fn bad_parameter(why: &str) -> Failure {
    Failure {
        class: ErrorClass::Config,
        code: "bad_activity_input".to_owned(),
        message: format!("what was set of the input by an edit cannot be put there: {why}"),
        step: None,
    }
}

fn bad_expression(place: &str, error: &ExprError) -> Failure {
    Failure {
        class: ErrorClass::Config,
        code: "bad_expression".to_owned(),
        message: format!("`{place}` cannot be evaluated: {error}"),
        step: None,
    }
}
