use chrono::TimeDelta;
use serde_json::json;

use super::*;
use crate::activity::Usage;
use crate::id::{RunId, SessionId, StepId};
use crate::queue::Queue;
use crate::run::{Amendments, Run, RunStatus, Step, StoreUrls};

/// An attempt that succeeded.
#[derive(Clone, Copy)]
struct Made {
    node: &'static str,
    wall_s: i64,
    processors: Option<u32>,
    resumed: bool,
}

const fn made(node: &'static str, wall_s: i64, processors: u32) -> Made {
    Made {
        node,
        wall_s,
        processors: Some(processors),
        resumed: false,
    }
}

fn run(input: &Value, all: &[Made]) -> Snapshot {
    let from = DateTime::UNIX_EPOCH;
    let record = |it: &Made| StepRecord {
        step: Step::pending(StepId::single(it.node), "t.a@1".to_owned(), 1),
        attempts: vec![Attempt {
            n: 1,
            round: 1,
            outcome: Some(AttemptOutcome::Succeeded),
            worker: SessionId::generate(),
            started_at: from,
            ended_at: Some(from + TimeDelta::seconds(it.wall_s)),
            usage: Some(Usage {
                processors: it.processors,
                ..Usage::default()
            }),
            resumed_from: it.resumed.then_some(1),
            error: None,
        }],
        artifacts: Vec::new(),
        compat: None,
        made: None,
    };
    Snapshot {
        run: Run {
            id: RunId::generate(),
            workflow: "t:x".to_owned(),
            version: 1,
            definition: "d".to_owned(),
            status: RunStatus::Failed,
            round: 1,
            revision: 1,
            events: 0,
            input: input.clone(),
            fingerprint: String::new(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: BTreeMap::new(),
            output: None,
            error: None,
            created_at: from,
            started_at: None,
            ended_at: None,
        },
        nodes: Vec::new(),
        steps: all.iter().map(record).collect(),
        former: Vec::new(),
        amendments: Amendments::default(),
    }
}

/// What is expected of the node `a`, on a machine of four processors as the run itself was.
fn expected(earlier: &[Snapshot]) -> (f64, [u32; 3]) {
    let mut own = run(&json!({"source": "own", "rungs": 3}), &[made("b", 1, 4)]);
    let mut pending = own.steps[0].clone();
    pending.step.id = StepId::single("a");
    pending.attempts.clear();
    own.steps.push(pending);
    let history = History::of(earlier, &own);
    let pace = history.pace("a", "t.a@1").unwrap();
    let counts = [pace.attempts, pace.same_parameters, pace.same_machine];
    (pace.p50_s, counts)
}

#[test]
fn attempts_count_that_are_most_like_the_one_to_come() {
    let (same, other) = (
        json!({"source": "x", "rungs": 3}),
        json!({"source": "x", "rungs": 9}),
    );
    let both = run(&same, &[made("a", 10, 4)]);
    let elsewhere = run(&same, &[made("a", 20, 64)]);
    let otherwise = run(&other, &[made("a", 40, 4)]);
    let neither = run(&other, &[made("a", 80, 64)]);
    let all = [both, elsewhere, otherwise, neither];
    assert_eq!(expected(&all), (10.0, [1, 1, 1]));
    assert_eq!(expected(&all[1..]), (20.0, [1, 1, 0]));
    // The run's own attempt is of another step: the machine is what they have in common.
    assert_eq!(expected(&all[2..]), (1.0, [2, 0, 2]));
}

#[test]
fn what_went_on_from_a_checkpoint_counts_where_nothing_else_does() {
    let input = json!({"source": "x", "rungs": 3});
    let resumed = Made {
        resumed: true,
        ..made("a", 2, 4)
    };
    let own = run(&input, &[resumed]);
    let history = History::of(&[], &own);
    assert_eq!(history.pace("a", "t.a@1").unwrap().p50_s, 2.0);
    let earlier = run(&json!({"rungs": 9}), &[made("a", 7, 64)]);
    let history = History::of(&[earlier], &own);
    assert_eq!(history.pace("a", "t.a@1").unwrap().p50_s, 7.0);
}

#[test]
fn of_a_step_that_is_new_any_attempt_of_its_activity_tells() {
    let own = run(&json!({}), &[made("a", 3, 4)]);
    let history = History::of(&[], &own);
    assert_eq!(history.pace("new", "t.a@1").unwrap().p50_s, 3.0);
    assert_eq!(history.pace("a", "t.b@1"), None);
    assert!(!history.is_empty() && History::NONE.is_empty());
}
