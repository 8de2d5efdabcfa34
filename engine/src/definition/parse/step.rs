//! One step.

use std::collections::BTreeMap;

use super::{Cx, NameRule, Place, is_word, words};
use crate::definition::yaml::{Member, Node, NodeValue};
use crate::definition::{ActivityRef, Need, Requires, RetryPolicy, StepDef, Template, Timeouts};
use crate::limits;

const STEP_KEYS: [&str; 16] = [
    "activity",
    "with",
    "needs",
    "when",
    "for_each",
    "on_failure",
    "retry",
    "timeout",
    "requires",
    "queue",
    "priority",
    "workflow",
    "wait",
    "cache",
    "compensate",
    "concurrency",
];

/// Keys of the format that this release does not execute: accepting them silently would run
/// another workflow than the one written.
const FUTURE_KEYS: [&str; 4] = ["workflow", "wait", "compensate", "concurrency"];

const STEP_NAME: NameRule = NameRule {
    what: "the name of a step",
    example: "plan_chunks",
    // The keywords of expressions could not be referred to.
    fits: |name| is_word(name, "_") && !["in", "true", "false", "null"].contains(&name),
};

const ACTIVITY_NAME: NameRule = NameRule {
    what: "an activity",
    example: "media.probe@1",
    fits: |text| parse_activity(text).is_some(),
};

/// Reads `area.verb@1`.
pub(in crate::definition) fn parse_activity(text: &str) -> Option<ActivityRef> {
    let (name, version) = text.split_once('@')?;
    let digits = version.chars().all(|c| c.is_ascii_digit());
    let well_named = name.contains('.') && name.split('.').all(|part| is_word(part, "_")) && digits;
    let version = version.parse().ok().filter(|version| *version > 0)?;
    well_named.then(|| ActivityRef {
        name: name.to_owned(),
        version,
    })
}

impl Cx<'_> {
    pub(super) fn step(&mut self, member: &Member) -> StepDef {
        self.check_name(&member.name, &member.name_span, &STEP_NAME);
        let what = format!("the step `{}`", member.name);
        let fields = self.fields(&member.node, &what, &STEP_KEYS);
        let other = self.refuse_future_keys(&member.node);
        if !other && member.node.members().is_some() {
            self.require(&fields, &what, &["activity"]);
        }
        let for_each = fields
            .get("for_each")
            .and_then(|node| self.expr(node, "`for_each`", Place::Condition));
        let each = fields.get("for_each").is_some();
        let mut step = StepDef {
            activity: self.activity(fields.get("activity")),
            with: match fields.get("with") {
                Some(node) => self.with(node, each),
                None => Template::map(BTreeMap::new()),
            },
            needs: Vec::new(),
            when: fields
                .get("when")
                .and_then(|node| self.expr(node, "`when`", Place::Condition)),
            for_each,
            on_failure: fields
                .get("on_failure")
                .and_then(|node| self.word(node, "`on_failure`", &words::ON_FAILURE))
                .unwrap_or_default(),
            retry: fields
                .get("retry")
                .map_or_else(RetryPolicy::default, |node| self.retry(node)),
            timeout: fields
                .get("timeout")
                .map_or_else(Timeouts::default, |node| self.timeouts(node)),
            requires: fields
                .get("requires")
                .map_or_else(Requires::default, |node| self.requires(node)),
            queue: fields
                .get("queue")
                .and_then(|node| self.word(node, "`queue`", &words::QUEUE)),
            priority: fields.get("priority").and_then(|node| {
                self.integer(node, "`priority`", -limits::PRIORITY..=limits::PRIORITY)
            }),
            cache: fields
                .get("cache")
                .and_then(|node| self.word(node, "`cache`", &words::CACHE))
                .unwrap_or_default(),
        };
        let explicit = fields
            .get("needs")
            .map(|node| self.needs(node))
            .unwrap_or_default();
        step.needs = all_needs(explicit, &step);
        step
    }

    /// Reports keys that are not built yet; whether one of them stands for `activity`.
    fn refuse_future_keys(&mut self, node: &Node) -> bool {
        let members = node.members().unwrap_or_default();
        for member in members {
            if FUTURE_KEYS.contains(&member.name.as_str()) {
                self.problems.add(
                    "not_supported_yet",
                    &member.name_span,
                    format!("`{}` is not supported by this release yet", member.name),
                );
            }
        }
        members
            .iter()
            .any(|member| matches!(member.name.as_str(), "workflow" | "wait"))
    }

    fn activity(&mut self, node: Option<&Node>) -> ActivityRef {
        let name = node.and_then(|node| self.name(node, &ACTIVITY_NAME));
        name.and_then(|name| parse_activity(&name))
            .unwrap_or_else(|| ActivityRef {
                name: String::new(),
                version: 0,
            })
    }

    fn with(&mut self, node: &Node, each: bool) -> Template {
        if node.members().is_none() {
            self.wrong_type(node, "`with`", "a map");
        }
        self.template(node, Place::With { each })
    }

    /// What is written in `needs`: `[a, {b: any}]` or `{a: succeeded, b: any}`.
    fn needs(&mut self, node: &Node) -> Vec<Need> {
        let mut needs = Vec::new();
        match &node.value {
            NodeValue::Map(members) => self.needs_map(members, &mut needs),
            NodeValue::List(items) => {
                for item in items {
                    match &item.value {
                        NodeValue::Map(members) => self.needs_map(members, &mut needs),
                        _ => self.plain_need(item, &mut needs),
                    }
                }
            }
            _ => self.wrong_type(node, "`needs`", "a list of steps, or a map of steps"),
        }
        needs
    }

    fn plain_need(&mut self, item: &Node, needs: &mut Vec<Need>) {
        if let Some(step) = self.text_of(item, "an item of `needs`") {
            if !self.steps.contains_key(step) {
                self.unknown_step(step, &item.span);
            }
            needs.push(Need {
                step: step.to_owned(),
                any: false,
            });
        }
    }

    fn needs_map(&mut self, members: &[Member], needs: &mut Vec<Need>) {
        for member in members {
            if !self.steps.contains_key(&member.name) {
                self.unknown_step(&member.name, &member.name_span);
            }
            let any = self.word(&member.node, "a need", &words::NEEDS);
            needs.push(Need {
                step: member.name.clone(),
                any: any.unwrap_or_default(),
            });
        }
    }

    fn timeouts(&mut self, node: &Node) -> Timeouts {
        let fields = self.fields(node, "`timeout`", &["attempt", "stall", "total"]);
        let mut duration = |key: &str| {
            fields
                .get(key)
                .and_then(|node| self.duration(node, &format!("`timeout.{key}`")))
        };
        let timeouts = Timeouts {
            attempt: duration("attempt"),
            stall: duration("stall"),
            total: duration("total"),
        };
        if let (Some(attempt), Some(total)) = (timeouts.attempt, timeouts.total)
            && attempt > total
        {
            self.bad_value(
                node,
                "`timeout.attempt` is longer than `timeout.total`".to_owned(),
            );
        }
        timeouts
    }

    fn requires(&mut self, node: &Node) -> Requires {
        let fields = self.fields(node, "`requires`", &["cpu", "memory", "disk", "gpu"]);
        let defaults = Requires::default();
        Requires {
            cpu: fields
                .get("cpu")
                .and_then(|node| self.integer(node, "`requires.cpu`", 1..=limits::CPUS_PER_STEP))
                .unwrap_or(defaults.cpu),
            memory_bytes: fields
                .get("memory")
                .and_then(|node| self.size(node, "`requires.memory`")),
            disk_bytes: fields
                .get("disk")
                .and_then(|node| self.size(node, "`requires.disk`")),
            gpu: fields
                .get("gpu")
                .and_then(|node| self.word(node, "`requires.gpu`", &words::GPU))
                .unwrap_or_default(),
        }
    }
}

/// Explicit needs and those implied by references, by name. What is written decides; a need that
/// is only implied takes any outcome if every reference to the step survives `null`.
fn all_needs(explicit: Vec<Need>, step: &StepDef) -> Vec<Need> {
    let mut implied: BTreeMap<&str, bool> = BTreeMap::new();
    let conditions = step.when.iter().chain(&step.for_each);
    let references = conditions.flat_map(|expr| expr.references());
    for reference in references.chain(step.with.references()) {
        if let Some(name) = reference.step() {
            *implied.entry(name).or_insert(true) &= reference.null_safe;
        }
    }
    let mut needs: BTreeMap<String, bool> = BTreeMap::new();
    for (name, any) in implied {
        needs.insert(name.to_owned(), any);
    }
    for need in explicit {
        needs.insert(need.step, need.any);
    }
    let needs = needs.into_iter();
    needs.map(|(step, any)| Need { step, any }).collect()
}
