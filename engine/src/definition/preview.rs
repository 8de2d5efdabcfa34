//! What can be said of a run before it runs: which conditions and parameters follow from the input
//! alone, and after which steps the others will be known.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::expr::{Expr, ExprError, Reference, Scope};
use super::template::Template;
use super::{Definition, Need, StepDef};
use crate::id::StepId;

/// A step before its run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepPreview {
    /// Its name.
    pub name: String,
    /// `media.probe@1`.
    pub activity: String,
    /// How many steps come before it one after another; steps of a level can run side by side.
    pub level: usize,
    /// The steps that come first.
    pub needs: Vec<String>,
    /// Why it will be skipped, if that is certain.
    pub skipped: Option<String>,
    /// Its condition.
    pub when: Option<Foreseen>,
    /// The list that it runs over.
    pub for_each: Option<Foreseen>,
    /// Its parameters; those that are not known yet as they are written.
    pub with: Value,
    /// Steps whose outputs the unknown parameters wait for.
    pub with_after: BTreeSet<String>,
    /// What is wrong with the parameters: the step would fail without an attempt.
    pub with_errors: Vec<String>,
}

/// What is known of an expression.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreseen {
    /// Its value.
    Value(Value),
    /// It will be known when these steps have succeeded.
    After {
        /// As it is written.
        expression: String,
        /// The steps.
        steps: BTreeSet<String>,
    },
    /// It cannot be evaluated, and the step would fail without an attempt.
    Error(String),
}

impl Definition {
    /// What is known of each step of a run with that input, in the order of the definition. The
    /// input is one that [`Definition::check_input`] answered.
    #[must_use]
    pub fn preview(&self, input: &Value) -> Vec<StepPreview> {
        let outputs = BTreeMap::new();
        self.forecast(input, &outputs).1
    }

    /// The inputs of the steps that have one for certain, once these steps have these outputs: of a single
    /// step one, of a fan-out one for each item of its list.
    #[must_use]
    pub fn known_inputs(
        &self,
        input: &Value,
        outputs: &BTreeMap<String, Value>,
    ) -> Vec<(StepId, Value)> {
        let (forecast, previews) = self.forecast(input, outputs);
        let wanted = previews.iter().filter(|preview| {
            let open = preview.when.as_ref();
            let runs = open.is_none_or(|when| *when == Foreseen::Value(Value::Bool(true)));
            runs && preview.skipped.is_none()
        });
        let inputs = wanted.flat_map(|preview| {
            let step = &self.steps[&preview.name];
            forecast.inputs(&preview.name, (step, preview.for_each.as_ref()))
        });
        inputs.collect()
    }

    fn forecast<'a>(
        &'a self,
        input: &'a Value,
        outputs: &'a BTreeMap<String, Value>,
    ) -> (Forecast<'a>, Vec<StepPreview>) {
        let mut forecast = Forecast {
            input,
            outputs,
            skipped: BTreeMap::new(),
            levels: BTreeMap::new(),
        };
        let steps = self.steps.iter();
        let previews = steps.map(|(name, step)| forecast.step(name, step));
        let previews = previews.collect();
        (forecast, previews)
    }
}

/// What is known so far.
struct Forecast<'a> {
    input: &'a Value,
    /// Outputs that are taken to be known.
    outputs: &'a BTreeMap<String, Value>,
    /// Steps that will certainly be skipped: their output is `null`.
    skipped: BTreeMap<&'a str, Value>,
    levels: BTreeMap<&'a str, usize>,
}

impl<'a> Forecast<'a> {
    fn step(&mut self, name: &'a str, step: &'a StepDef) -> StepPreview {
        let levels = step.needs.iter().filter_map(|need| self.level_of(need));
        let level = levels.max().map_or(0, |highest| highest + 1);
        let when = step.when.as_ref().map(|condition| self.foresee(condition));
        let skipped = self.skips(step, when.as_ref());
        let mut with = Parameters::default();
        let rendered = with.render(&step.with.to_json(), self);
        let preview = StepPreview {
            name: name.to_owned(),
            activity: step.activity.to_string(),
            level,
            needs: step.needs.iter().map(|need| need.step.clone()).collect(),
            for_each: step.for_each.as_ref().map(|list| self.foresee(list)),
            when,
            with: rendered,
            with_after: with.after,
            with_errors: with.errors,
            skipped,
        };
        self.levels.insert(name, level);
        if preview.skipped.is_some() {
            self.skipped.insert(name, Value::Null);
        }
        preview
    }

    fn level_of(&self, need: &Need) -> Option<usize> {
        self.levels.get(need.step.as_str()).copied()
    }

    fn skips(&self, step: &StepDef, when: Option<&Foreseen>) -> Option<String> {
        let without = step
            .needs
            .iter()
            .find(|need| !need.any && self.skipped.contains_key(need.step.as_str()));
        match (without, when) {
            (Some(need), _) => Some(format!("{} is skipped", need.step)),
            (None, Some(Foreseen::Value(Value::Bool(false)))) => {
                Some("its condition is false".to_owned())
            }
            _ => None,
        }
    }

    fn foresee(&self, expression: &Expr) -> Foreseen {
        match self.unknown(expression.references().iter()) {
            Some(steps) => Foreseen::After {
                expression: expression.text().to_owned(),
                steps,
            },
            None => match expression.eval(&self.scope()) {
                Ok(value) => Foreseen::Value(value),
                Err(error) => Foreseen::Error(error.to_string()),
            },
        }
    }

    /// The steps that references wait for; `None` if everything is known. The item of a `for_each`
    /// is known with its list.
    fn unknown<'r>(
        &self,
        references: impl Iterator<Item = &'r Reference>,
    ) -> Option<BTreeSet<String>> {
        let mut unknown = None;
        for reference in references {
            match reference.step() {
                Some(step)
                    if self.skipped.contains_key(step) || self.outputs.contains_key(step) => {}
                Some(step) => {
                    unknown
                        .get_or_insert_with(BTreeSet::new)
                        .insert(step.to_owned());
                }
                None if reference.path.first().is_some_and(|root| root == "input") => {}
                None => {
                    unknown.get_or_insert_with(BTreeSet::new);
                }
            }
        }
        unknown
    }

    fn scope(&self) -> Scope<'_> {
        let scope = Scope::new().input(self.input);
        let skipped = self.skipped.iter();
        let scope = skipped.fold(scope, |scope, (name, output)| scope.step(name, output));
        let outputs = self.outputs.iter();
        outputs.fold(scope, |scope, (name, output)| scope.step(name, output))
    }

    /// The inputs of a step, as far as everything is known that they name.
    fn inputs(
        &self,
        name: &str,
        (step, list): (&StepDef, Option<&Foreseen>),
    ) -> Vec<(StepId, Value)> {
        let named: Vec<&str> = step.with.references().filter_map(Reference::step).collect();
        let known =
            |step: &&str| self.skipped.contains_key(*step) || self.outputs.contains_key(*step);
        if !named.iter().all(known) {
            return Vec::new();
        }
        match list {
            None => {
                let input = step.with.render(&self.scope()).ok();
                let input = input.map(|input| (StepId::single(name), input));
                input.into_iter().collect()
            }
            Some(Foreseen::Value(Value::Array(items))) => (0..)
                .zip(items)
                .filter_map(|(place, item)| {
                    let input = step.with.render(&self.scope().each(item)).ok()?;
                    Some((StepId::item(name, place), input))
                })
                .collect(),
            Some(_) => Vec::new(),
        }
    }
}

/// Parameters while they are rendered as far as possible.
#[derive(Default)]
struct Parameters {
    after: BTreeSet<String>,
    errors: Vec<String>,
}

impl Parameters {
    fn render(&mut self, written: &Value, forecast: &Forecast<'_>) -> Value {
        match written {
            Value::String(_) => self.render_text(written, forecast).unwrap_or_else(|error| {
                self.errors.push(error.to_string());
                written.clone()
            }),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.render(item, forecast));
                Value::Array(items.collect())
            }
            Value::Object(members) => {
                let members = members.iter();
                let rendered =
                    members.map(|(name, value)| (name.clone(), self.render(value, forecast)));
                Value::Object(rendered.collect())
            }
            scalar => scalar.clone(),
        }
    }

    fn render_text(
        &mut self,
        written: &Value,
        forecast: &Forecast<'_>,
    ) -> Result<Value, ExprError> {
        let template = Template::parse(written)?;
        match forecast.unknown(template.references()) {
            Some(steps) => {
                self.after.extend(steps);
                Ok(written.clone())
            }
            None => template.render(&forecast.scope()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn preview(steps: &Value, input: &Value) -> Vec<StepPreview> {
        let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
        let definition = Definition::from_canonical(&text).expect("a definition");
        definition.preview(input)
    }

    fn after(expression: &str, steps: &[&str]) -> Foreseen {
        Foreseen::After {
            expression: expression.to_owned(),
            steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        }
    }

    #[test]
    fn what_follows_from_the_input_is_known_and_the_rest_says_after_what() {
        let steps = json!({
            "a": {"activity": "t.a@1", "with": {"key": "${{ input.key }}", "deep": [{"n": "x${{ input.n }}"}]}},
            "b": {
                "activity": "t.b@1",
                "when": "input.n > 2 && steps.a.output.ok",
                "for_each": "steps.a.output.items",
                "with": {"of": "${{ each }}", "key": "${{ input.key }}", "a": "${{ steps.a.output.x }}"},
            },
            "c": {"activity": "t.c@1", "when": "input.n == 3", "for_each": "[1, input.n]"},
        });
        let steps = preview(&steps, &json!({"key": "film.mp4", "n": 3}));
        let [a, b, c] = steps.as_slice() else {
            panic!("three steps: {steps:?}")
        };
        let named = |name: &str| {
            [a, b, c]
                .into_iter()
                .find(|step| step.name == name)
                .unwrap()
        };
        let (a, b, c) = (named("a"), named("b"), named("c"));
        assert_eq!(a.with, json!({"key": "film.mp4", "deep": [{"n": "x3"}]}));
        assert_eq!((a.level, b.level, c.level), (0, 1, 0));
        assert_eq!(
            b.when,
            Some(after("input.n > 2 && steps.a.output.ok", &["a"]))
        );
        assert_eq!(b.for_each, Some(after("steps.a.output.items", &["a"])));
        assert_eq!(
            b.with,
            json!({"of": "${{ each }}", "key": "film.mp4", "a": "${{ steps.a.output.x }}"})
        );
        assert_eq!(b.with_after, BTreeSet::from(["a".to_owned()]));
        assert_eq!(c.when, Some(Foreseen::Value(json!(true))));
        assert_eq!(c.for_each, Some(Foreseen::Value(json!([1, 3]))));
    }

    #[test]
    fn a_skip_that_is_certain_is_foreseen_with_what_follows_from_it() {
        let steps = json!({
            "a": {"activity": "t.a@1", "when": "input.wanted"},
            "b": {"activity": "t.b@1", "needs": {"a": "succeeded"}},
            "c": {"activity": "t.c@1", "needs": {"a": "any"}, "with": {"has": "${{ steps.a.output != null }}"}},
        });
        let steps = preview(&steps, &json!({"wanted": false}));
        let skipped: Vec<_> = steps.iter().map(|step| step.skipped.as_deref()).collect();
        assert_eq!(
            skipped,
            [Some("its condition is false"), Some("a is skipped"), None]
        );
        assert_eq!(steps[2].with, json!({"has": false}));
    }

    #[test]
    fn inputs_are_known_with_the_outputs_that_they_name() {
        let steps = json!({
            "a": {"activity": "t.a@1", "with": {"n": "${{ input.n }}"}},
            "b": {
                "activity": "t.b@1", "for_each": "steps.a.output",
                "with": {"of": "${{ each }}", "n": "${{ input.n }}"},
            },
            "c": {"activity": "t.c@1", "with": {"all": "${{ steps.b.output }}"}},
            "d": {"activity": "t.d@1", "when": "steps.a.output != null"},
        });
        let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
        let definition = Definition::from_canonical(&text).expect("a definition");
        let known = |outputs: Value| {
            let outputs = serde_json::from_value(outputs).unwrap();
            let known = definition.known_inputs(&json!({"n": 3}), &outputs);
            let named = known.into_iter().map(|(id, input)| (id.to_string(), input));
            named.collect::<BTreeMap<_, _>>()
        };
        let first: BTreeMap<_, _> = [("a".to_owned(), json!({"n": 3}))].into();
        assert_eq!(known(json!({})), first);
        let then = known(json!({"a": ["x", "y"]}));
        let names: Vec<&str> = then.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b[0]", "b[1]", "d"]);
        assert_eq!(then["b[1]"], json!({"of": "y", "n": 3}));
    }

    #[test]
    fn an_expression_that_will_fail_is_told_now() {
        let steps = json!({
            "a": {"activity": "t.a@1", "when": "input.n.missing", "with": {"x": "${{ input.nothing.x }}"}},
        });
        let steps = preview(&steps, &json!({"n": {}, "nothing": null}));
        assert!(
            matches!(&steps[0].when, Some(Foreseen::Error(_))),
            "{steps:?}"
        );
        assert_eq!(steps[0].with_errors.len(), 1, "{steps:?}");
    }
}
