//! Runs of which only a part is read, so that what is told of a run of 100,000 steps costs what is told
//! of a small one.

use std::collections::BTreeMap;

use super::rows::SINGLE;
use crate::id::StepId;
use crate::retry::plan::RetryPlan;
use crate::run::{Node, Snapshot};

/// Steps at the beginning of a run that a [`Window::Head`] has with everything that belongs to them.
pub const HEAD_STEPS: usize = 100;

/// Steps of a run that a [`Window::Head`] has besides: warnings, the phase and the like are told of what
/// the first of each node say.
const KNOWN_STEPS: usize = 1_000;

/// Which steps of a run are wanted. They are in the order of the definition and of its lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// The first [`HEAD_STEPS`], and without their artifacts the first few of every node.
    Head,
    /// At most so many behind a step, or the first ones.
    Behind(Option<StepId>, usize),
    /// One.
    One(StepId),
}

/// A run with some of its steps, as one transaction saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The run, all of its nodes, and the steps of the window. A node whose list is not known yet, or
    /// empty, has no steps, and counts for one all the same.
    pub snapshot: Snapshot,
    /// How many steps the run has.
    pub total: usize,
    /// The last step of the window, if others are behind it.
    pub last: Option<StepId>,
}

/// A retry plan with its first steps.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanHead {
    /// The plan, with at most [`HEAD_STEPS`] of its steps.
    pub plan: RetryPlan,
    /// How many steps it has.
    pub total: usize,
}

impl PlanHead {
    /// The head of a plan.
    #[must_use]
    pub fn of(mut plan: RetryPlan) -> Self {
        let total = plan.steps.len();
        plan.steps.truncate(HEAD_STEPS);
        Self { plan, total }
    }

    /// A plan with its first steps only, for stores that keep it beside the whole; `None` if it has no more.
    #[must_use]
    pub fn shortened(plan: &RetryPlan) -> Option<RetryPlan> {
        let first = plan.steps.get(..HEAD_STEPS)?;
        Some(RetryPlan {
            id: plan.id.clone(),
            job: plan.job.clone(),
            digest: plan.digest.clone(),
            state: plan.state,
            executable: plan.executable,
            basis: plan.basis.clone(),
            summary: plan.summary,
            steps: first.to_vec(),
            warnings: plan.warnings.clone(),
            edits: plan.edits.clone(),
            changes: plan.changes.clone(),
            identity: plan.identity.clone(),
            verified: plan.verified,
            // Nobody is shown them, and there may be many.
            corrupt: Vec::new(),
            executed_by: plan.executed_by.clone(),
        })
    }
}

/// Some steps of a node: those with these items in the list of its `for_each`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The node.
    pub node: String,
    /// The first item; -1 so that the only step of a node without `for_each` is among them.
    pub first: i32,
    /// The last one.
    pub last: i32,
}

/// What has to be read for a [`Window`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Steps and their attempts.
    pub steps: Vec<Stretch>,
    /// Artifacts.
    pub artifacts: Vec<Stretch>,
    /// See [`Outline::total`].
    pub total: usize,
    /// See [`Outline::last`].
    pub last: Option<StepId>,
}

/// A node and how many steps it has.
struct Sized<'a> {
    name: &'a str,
    size: usize,
}

impl Sized<'_> {
    /// The step behind which so many have been seen.
    fn place(&self, seen: usize) -> StepId {
        match u32::try_from(seen) {
            Ok(seen @ 1..) if self.size > 1 => StepId::item(self.name, seen - 1),
            _ => StepId::single(self.name),
        }
    }

    fn stretch(&self, from: usize, to: usize) -> Stretch {
        let item = |place: usize| i32::try_from(place).unwrap_or(i32::MAX);
        Stretch {
            node: self.name.to_owned(),
            first: if from == 0 { SINGLE } else { item(from) },
            last: item(to) - 1,
        }
    }
}

impl Window {
    /// What has to be read. `former` are the lengths of the lists that nodes had in earlier rounds, as far
    /// as attempts are left of them.
    #[must_use]
    pub fn cut(&self, nodes: &[Node], former: &BTreeMap<String, u32>) -> Cut {
        let sized: Vec<Sized<'_>> = nodes
            .iter()
            .map(|node| {
                let before = former.get(&node.name).copied().unwrap_or_default();
                Sized {
                    name: &node.name,
                    size: node.total.unwrap_or_default().max(before).max(1) as usize,
                }
            })
            .collect();
        let total = sized.iter().map(|node| node.size).sum();
        let cut = match self {
            Self::Head => head(&sized),
            Self::Behind(step, limit) => behind(&sized, step.as_ref(), *limit),
            Self::One(step) => one(step),
        };
        Cut { total, ..cut }
    }
}

fn head(nodes: &[Sized<'_>]) -> Cut {
    let mut cut = behind(nodes, None, HEAD_STEPS);
    cut.artifacts = std::mem::take(&mut cut.steps);
    let few = (KNOWN_STEPS / nodes.len().max(1)).max(1);
    let shown = |name: &str| {
        let mut stretches = cut.artifacts.iter();
        stretches.find(|stretch| stretch.node == name)
    };
    cut.steps = nodes
        .iter()
        .map(|node| {
            let known = node.stretch(0, few.min(node.size));
            let last = shown(node.name).map_or(SINGLE, |stretch| stretch.last);
            Stretch {
                last: last.max(known.last),
                ..known
            }
        })
        .collect();
    cut
}

fn behind(nodes: &[Sized<'_>], step: Option<&StepId>, limit: usize) -> Cut {
    let mut cut = Cut::default();
    let known = |step: &StepId| nodes.iter().position(|node| node.name == step.node);
    let start = step.map_or(Some(0), known);
    let Some(start) = start else { return cut };
    let mut from = step.map_or(0, |step| match step.item {
        Some(item) => item as usize + 1,
        None => usize::MAX,
    });
    let mut left = limit;
    let mut place = None;
    for node in &nodes[start..] {
        let begin = std::mem::take(&mut from).min(node.size);
        let end = begin + left.min(node.size - begin);
        if end > begin {
            cut.steps.push(node.stretch(begin, end));
            place = Some(node.place(end));
        }
        left -= end - begin;
        if end < node.size {
            cut.last = place.take();
            break;
        }
    }
    cut.artifacts = cut.steps.clone();
    cut
}

fn one(step: &StepId) -> Cut {
    let item = step
        .item
        .map_or(SINGLE, |item| i32::try_from(item).unwrap_or(i32::MAX));
    let stretch = Stretch {
        node: step.node.clone(),
        first: item,
        last: item,
    };
    Cut {
        steps: vec![stretch.clone()],
        artifacts: vec![stretch],
        ..Cut::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, total: Option<u32>) -> Node {
        Node {
            total,
            ..Node::pending(name, true)
        }
    }

    fn wide() -> Vec<Node> {
        vec![
            node("a", Some(1)),
            node("b", Some(5)),
            node("c", None),
            node("d", Some(1)),
        ]
    }

    /// Stretches as `b 0..3`.
    fn shown(stretches: &[Stretch]) -> Vec<String> {
        let shown = stretches
            .iter()
            .map(|it| format!("{} {}..{}", it.node, it.first, it.last + 1));
        shown.collect()
    }

    #[test]
    fn windows_follow_each_other_to_the_end() {
        let (nodes, former) = (wide(), BTreeMap::new());
        let mut seen = Vec::new();
        let mut step = None;
        loop {
            let cut = Window::Behind(step, 3).cut(&nodes, &former);
            assert_eq!(cut.total, 8);
            seen.push(shown(&cut.steps).join(", "));
            step = cut.last;
            if step.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a -1..1, b -1..2", "b 2..5", "c -1..1, d -1..1"]);
    }

    #[test]
    fn items_of_an_earlier_round_are_behind_those_of_the_list() {
        let former = BTreeMap::from([("c".to_owned(), 2)]);
        let cut = Window::Behind(Some(StepId::item("b", 4)), 2).cut(&wide(), &former);
        assert_eq!(shown(&cut.steps), ["c -1..2"]);
        assert_eq!((cut.total, cut.last), (9, Some(StepId::item("c", 1))));
    }

    #[test]
    fn a_head_knows_something_of_every_node_however_many_steps_there_are() {
        let nodes = vec![
            node("a", Some(40)),
            node("b", Some(99_000)),
            node("c", Some(500)),
        ];
        let cut = Window::Head.cut(&nodes, &BTreeMap::new());
        assert_eq!(shown(&cut.artifacts), ["a -1..40", "b -1..60"]);
        assert_eq!(shown(&cut.steps), ["a -1..40", "b -1..333", "c -1..333"]);
        assert_eq!(cut.last, Some(StepId::item("b", 59)));
    }

    #[test]
    fn a_step_that_is_not_there_has_nothing_behind_it() {
        let behind = Window::Behind(Some(StepId::single("x")), 3);
        assert_eq!(behind.cut(&wide(), &BTreeMap::new()).steps, []);
    }
}
