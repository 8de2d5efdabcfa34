//! Any sequence of commands, allowed or not: no run ends up where nothing can happen to it any more and
//! nobody knows why. `PROPTEST_CASES` tries more sequences.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::machine::Command;
use telecine_engine::queue::Queue;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Failure, Run, RunStatus, StoreUrls};
use telecine_engine::store::Outcome;
use telecine_testkit::sim::{Model, Random, definition};

/// Commands of a sequence.
const COMMANDS: usize = 60;

/// A command as chance has it: numbers choose among what is there.
#[derive(Debug, Clone)]
struct Draft {
    what: What,
    /// Which step; beyond the last one, a step that no run has.
    step: prop::sample::Index,
    unknown: bool,
    /// What is added to the fence of the step.
    off: u64,
}

#[derive(Debug, Clone)]
enum What {
    Start,
    Ready,
    Finish,
    Claim,
    Complete(usize),
    Fail(ErrorClass),
    Release,
    Lose,
    Hold,
    Wake,
    Cancel,
    /// The current plan, or the one before it.
    Reopen {
        stale: bool,
    },
}

fn classes() -> impl Strategy<Value = ErrorClass> {
    prop::sample::select(vec![
        ErrorClass::Transient,
        ErrorClass::Dependency,
        ErrorClass::Resource,
        ErrorClass::Input,
        ErrorClass::Config,
        ErrorClass::Bug,
        ErrorClass::Lost,
        ErrorClass::Stalled,
        ErrorClass::Timeout,
        ErrorClass::Cancelled,
    ])
}

/// Those that lead on come up more often than those that mostly are refused.
fn whats() -> impl Strategy<Value = What> {
    prop_oneof![
        8 => Just(What::Claim),
        6 => (0..4_usize).prop_map(What::Complete),
        4 => classes().prop_map(What::Fail),
        2 => Just(What::Lose),
        2 => Just(What::Wake),
        2 => any::<bool>().prop_map(|stale| What::Reopen { stale }),
        1 => Just(What::Release),
        1 => Just(What::Hold),
        1 => Just(What::Start),
        1 => Just(What::Ready),
        1 => Just(What::Finish),
        1 => Just(What::Cancel),
    ]
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let off = prop_oneof![9 => Just(0), 1 => 1..3_u64];
    let draft = (
        whats(),
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.05),
        off,
    );
    let draft = draft.prop_map(|(what, step, unknown, off)| Draft {
        what,
        step,
        unknown,
        off,
    });
    prop::collection::vec(draft, 0..COMMANDS)
}

/// A run, and the plans that were made for it.
struct Subject {
    model: Model,
    plan: Option<RetryPlan>,
    before: Option<RetryPlan>,
}

impl Subject {
    fn new(seed: u64) -> Self {
        let definition = definition(&mut Random::new(seed));
        let run = Run {
            id: RunId::from("job_1".to_owned()),
            workflow: definition.name.clone(),
            version: definition.version,
            definition: definition.digest(),
            status: RunStatus::Queued,
            round: 1,
            revision: 0,
            events: 0,
            input: json!({}),
            fingerprint: String::new(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: Default::default(),
            output: None,
            error: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        };
        Self {
            model: Model::start(run, Arc::new(definition)),
            plan: None,
            before: None,
        }
    }

    /// The command that a draft comes to; none without a plan to execute.
    fn command(&self, draft: &Draft) -> Option<Command> {
        let ids: Vec<&StepId> = self.model.steps.keys().collect();
        let known = match ids.is_empty() || draft.unknown {
            true => None,
            false => Some(ids[draft.step.index(ids.len())]),
        };
        let step = known.cloned().unwrap_or_else(|| StepId::single("nobody"));
        let fence = known.map_or(1, |id| self.model.steps[id].fence) + draft.off;
        let usage = Usage::default();
        Some(match &draft.what {
            What::Start => Command::Start,
            What::Ready => Command::Ready { node: step.node },
            What::Finish => Command::Finish,
            What::Claim => Command::Claim {
                step,
                session: SessionId::from("session_1".to_owned()),
            },
            What::Complete(items) => Command::Complete {
                step,
                fence,
                outcome: Outcome {
                    output: json!({"list": vec![1; *items]}),
                    ..Outcome::default()
                },
            },
            What::Fail(class) => Command::Fail {
                step,
                fence,
                error: failure(*class),
                usage,
                warnings: Vec::new(),
            },
            What::Release => Command::Release { step, fence, usage },
            What::Lose => Command::Lose { step, fence },
            What::Hold => Command::Hold {
                step,
                error: failure(ErrorClass::Resource),
            },
            What::Wake => Command::Wake { step },
            What::Cancel => Command::Cancel {
                by: "anybody".to_owned(),
                reason: None,
            },
            What::Reopen { stale } => {
                let plan = if *stale { &self.before } else { &self.plan };
                let plan = Box::new(plan.clone()?);
                Command::Reopen { plan }
            }
        })
    }

    fn tell(&mut self, command: &Command) {
        let was = self.model.snapshot();
        // The machine itself does not know which of its plans was shown last, but whether it is out
        // of date.
        if self.model.fold(command).is_err() {
            assert_eq!(
                self.model.snapshot(),
                was,
                "what is refused changes nothing"
            );
        }
        self.model.check();
        if self.model.run.status.is_stopped() {
            let plan = self.model.plan();
            if self.plan.as_ref().map(|plan| &plan.digest) != Some(&plan.digest) {
                self.before = self.plan.replace(plan);
            }
        }
    }

    /// A run that has stopped short can be tried again, or says what stands in the way.
    fn is_accounted_for(&self) -> bool {
        let status = self.model.run.status;
        if !status.is_stopped() || status == RunStatus::Succeeded {
            // That something can move it has been checked.
            return true;
        }
        let plan = self.model.plan();
        plan.executable || !plan.warnings.is_empty()
    }
}

fn failure(class: ErrorClass) -> Failure {
    Failure {
        class,
        code: "any".to_owned(),
        message: "the property wants it".to_owned(),
        step: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").map_or(400, |cases| cases.parse().expect("a number"))
    ))]

    #[test]
    fn no_sequence_of_commands_leaves_a_run_that_nothing_can_move(
        seed in any::<u64>(),
        drafts in drafts(),
    ) {
        let mut subject = Subject::new(seed);
        for draft in &drafts {
            if let Some(command) = subject.command(draft) {
                subject.tell(&command);
                prop_assert!(subject.is_accounted_for(), "after {:?}", command);
            }
        }
    }
}
