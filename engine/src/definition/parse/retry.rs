//! The retry policy of a step.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cx, Place, words};
use crate::definition::yaml::{Node, NodeValue};
use crate::definition::{Backoff, RetryPolicy, RetryRule};
use crate::limits;

/// No factor of a backoff is larger: the longest pause would follow the first at once.
const MAX_FACTOR: f64 = 100.0;

impl Cx<'_> {
    pub(super) fn retry(&mut self, node: &Node) -> RetryPolicy {
        let keys = ["max_attempts", "backoff", "rules", "when"];
        let fields = self.fields(node, "`retry`", &keys);
        let defaults = RetryPolicy::default();
        RetryPolicy {
            max_attempts: fields
                .get("max_attempts")
                .and_then(|node| {
                    let range = 1..=limits::ATTEMPTS_PER_STEP;
                    self.integer(node, "`retry.max_attempts`", range)
                })
                .unwrap_or(defaults.max_attempts),
            backoff: fields
                .get("backoff")
                .map_or(defaults.backoff, |node| self.backoff(node)),
            rules: fields
                .get("rules")
                .map(|node| self.rules(node))
                .unwrap_or_default(),
            when: fields
                .get("when")
                .and_then(|node| self.expr(node, "`retry.when`", Place::Retry)),
        }
    }

    fn backoff(&mut self, node: &Node) -> Backoff {
        let keys = ["initial", "factor", "max", "jitter"];
        let fields = self.fields(node, "`backoff`", &keys);
        let defaults = Backoff::default();
        let initial = fields
            .get("initial")
            .and_then(|node| self.duration(node, "`backoff.initial`"))
            .unwrap_or(defaults.initial);
        let max = fields
            .get("max")
            .and_then(|node| self.duration(node, "`backoff.max`"));
        if max.is_some_and(|max| max < initial) {
            self.bad_value(
                node,
                "`backoff.max` is shorter than `backoff.initial`".to_owned(),
            );
        }
        Backoff {
            initial,
            factor: fields
                .get("factor")
                .and_then(|node| self.factor(node))
                .unwrap_or(defaults.factor),
            max: max.unwrap_or(defaults.max.max(initial)),
            jitter: fields
                .get("jitter")
                .and_then(|node| self.word(node, "`backoff.jitter`", &words::JITTER))
                .unwrap_or_default(),
        }
    }

    fn factor(&mut self, node: &Node) -> Option<f64> {
        let factor = match &node.value {
            NodeValue::Number(number) => number.as_f64(),
            _ => None,
        };
        let factor = factor.filter(|factor| (1.0..=MAX_FACTOR).contains(factor));
        if factor.is_none() {
            self.bad_value(
                node,
                format!("`backoff.factor` must be a number from 1 to {MAX_FACTOR}"),
            );
        }
        factor
    }

    fn rules(&mut self, node: &Node) -> Vec<RetryRule> {
        let NodeValue::List(items) = &node.value else {
            self.wrong_type(node, "`retry.rules`", "a list");
            return Vec::new();
        };
        if items.len() > limits::RETRY_RULES_PER_STEP {
            self.problems.add(
                "limit_exceeded",
                &node.span,
                format!(
                    "a step has at most {} retry rules (limits::RETRY_RULES_PER_STEP)",
                    limits::RETRY_RULES_PER_STEP
                ),
            );
        }
        items.iter().map(|item| self.rule(item)).collect()
    }

    fn rule(&mut self, node: &Node) -> RetryRule {
        let keys = ["class", "code", "when", "retry", "set"];
        let fields = self.fields(node, "a retry rule", &keys);
        if !["class", "code", "when"]
            .iter()
            .any(|key| fields.get(key).is_some())
            && node.members().is_some()
        {
            self.problems.add(
                "missing_key",
                &node.span,
                "a retry rule needs `class`, `code` or `when`, to say what it is for",
            );
        }
        let rule = RetryRule {
            class: fields
                .get("class")
                .and_then(|node| self.word(node, "`class`", &words::CLASSES)),
            code: fields
                .get("code")
                .and_then(|node| self.text_of(node, "`code`"))
                .map(str::to_owned),
            when: fields
                .get("when")
                .and_then(|node| self.expr(node, "`when`", Place::Retry)),
            retry: fields
                .get("retry")
                .and_then(|node| self.boolean(node, "`retry`"))
                .unwrap_or(true),
            set: fields
                .get("set")
                .map(|node| self.set(node))
                .unwrap_or_default(),
        };
        if !rule.retry && !rule.set.is_empty() {
            self.bad_value(
                node,
                "a rule that does not retry has no use for `set`".to_owned(),
            );
        }
        rule
    }

    fn set(&mut self, node: &Node) -> BTreeMap<String, Value> {
        let Some(members) = node.members() else {
            self.wrong_type(node, "`set`", "a map");
            return BTreeMap::new();
        };
        members
            .iter()
            .map(|member| (member.name.clone(), self.json(&member.node)))
            .collect()
    }
}
