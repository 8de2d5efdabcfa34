use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::definition::Definition;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::{Command, Rejected};
use telecine_engine::queue::Queue;
use telecine_engine::retry::plan::{Action, RetryPlan};
use telecine_engine::run::{Failure, Run, RunStatus, StepStatus, StoreUrls};
use telecine_engine::store::Outcome;

use super::{Model, Random};

/// Rounds after which a simulated run is left as it is.
const ROUNDS: u32 = 6;

/// How a simulated run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Its last state.
    pub status: RunStatus,
    /// Rounds it took.
    pub rounds: u32,
    /// Attempts it took.
    pub attempts: u32,
}

/// One run, and the chance that drives it.
#[derive(Debug)]
pub struct World {
    model: Model,
    random: Random,
    /// In percent: how much goes wrong.
    trouble: usize,
    attempts: u32,
    /// What the executed plan allows to run; everything in the first round.
    allowed: Option<BTreeSet<String>>,
}

impl World {
    /// A run of a definition. With `trouble` 0 every attempt succeeds; with 50 half of them fail,
    /// get lost, or report late.
    #[must_use]
    pub fn new(seed: u64, definition: Definition, trouble: usize) -> Self {
        let run = Run {
            id: RunId::generate(),
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
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        };
        let model = Model::start(run, Arc::new(definition));
        Self {
            model,
            random: Random::new(seed),
            trouble,
            attempts: 0,
            allowed: None,
        }
    }

    /// Runs to the end, checking every state on the way.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn run(mut self) -> Report {
        loop {
            self.model.check();
            if self.model.run.status.is_stopped() {
                if !self.reopen() {
                    break;
                }
            } else {
                self.step();
            }
        }
        Report {
            status: self.model.run.status,
            rounds: self.model.run.round,
            attempts: self.attempts,
        }
    }

    fn step(&mut self) {
        let running = self.model.having(StepStatus::Running);
        let ready = self.model.having(StepStatus::Ready);
        let backoff = self.model.having(StepStatus::Backoff);
        if self.random.chance(self.trouble / 50) {
            let cancel = Command::Cancel {
                by: "the simulation".to_owned(),
                reason: None,
            };
            self.model
                .fold(&cancel)
                .expect("a run that moves can be cancelled");
        } else if let Some(id) = self.choose(&ready, 60) {
            self.claim(&id);
        } else if let Some(id) = self.choose(&running, 80) {
            self.end(&id);
        } else if let Some(id) = self.choose(&backoff, 100) {
            self.model
                .fold(&Command::Wake { step: id })
                .expect("a step in backoff wakes");
        }
    }

    fn choose(&mut self, ids: &[StepId], percent: usize) -> Option<StepId> {
        if self.random.chance(percent) {
            self.random.pick(ids).cloned()
        } else {
            None
        }
    }

    fn claim(&mut self, id: &StepId) {
        self.attempts += 1;
        if let Some(allowed) = &self.allowed {
            let planned = allowed.contains(&id.to_string()) || allowed.contains(&id.node);
            assert!(planned, "{id} runs although the plan does not name it");
        }
        self.model.claim(id);
    }

    fn end(&mut self, id: &StepId) {
        let fence = self.model.steps[id].fence;
        let stale = Command::Lose {
            step: id.clone(),
            fence: fence - 1,
        };
        assert_eq!(
            self.model.fold(&stale),
            Err(Rejected::Fenced),
            "an old fence is refused"
        );
        let command = if self.random.chance(self.trouble) {
            self.misfortune(id, fence)
        } else {
            let items = self.random.below(4);
            let outcome = Outcome {
                output: json!({"list": vec![1; items], "n": items}),
                ..Outcome::default()
            };
            Command::Complete {
                step: id.clone(),
                fence,
                outcome,
            }
        };
        self.model
            .fold(&command)
            .expect("the owner of a step may end it");
        assert_eq!(
            self.model.fold(&command),
            Err(Rejected::Fenced),
            "an attempt ends once"
        );
    }

    fn misfortune(&mut self, id: &StepId, fence: u64) -> Command {
        let step = id.clone();
        match self.random.below(4) {
            0 => Command::Lose { step, fence },
            1 => Command::Release {
                step,
                fence,
                usage: Usage::default(),
            },
            n => Command::Fail {
                step,
                fence,
                error: Failure {
                    class: if n == 2 {
                        ErrorClass::Transient
                    } else {
                        self.some_class()
                    },
                    code: "simulated".to_owned(),
                    message: "the simulation wants it".to_owned(),
                    step: None,
                },
                usage: Usage::default(),
                warnings: Vec::new(),
            },
        }
    }

    fn some_class(&mut self) -> ErrorClass {
        let classes = [
            ErrorClass::Resource,
            ErrorClass::Bug,
            ErrorClass::Stalled,
            ErrorClass::Timeout,
            ErrorClass::Input,
            ErrorClass::Config,
        ];
        self.random
            .pick(&classes)
            .copied()
            .unwrap_or(ErrorClass::Bug)
    }

    /// Executes the plan of a run that stopped short; `false` when that is the end.
    fn reopen(&mut self) -> bool {
        let status = self.model.run.status;
        if status == RunStatus::Succeeded || self.model.run.round >= ROUNDS {
            return false;
        }
        let plan = self.model.plan();
        check_plan(&plan, &self.model);
        let reopen = Command::Reopen {
            plan: Box::new(plan.clone()),
        };
        if !plan.executable {
            assert!(
                self.model.fold(&reopen).is_err(),
                "a plan that is not executable is refused"
            );
            return false;
        }
        self.model
            .fold(&reopen)
            .expect("a fresh executable plan is accepted");
        assert!(self.model.fold(&reopen).is_err(), "a plan is executed once");
        let runs = plan
            .steps
            .iter()
            .filter(|s| matches!(s.action, Action::Resume | Action::Rerun));
        self.allowed = Some(runs.map(|step| step.id.to_string()).collect());
        true
    }
}

fn check_plan(plan: &RetryPlan, model: &Model) {
    for step in &plan.steps {
        let kept = model.steps.get(&step.id).map(|row| row.status);
        if step.action == Action::Reuse {
            let node = model.status_of(&step.id.node);
            let succeeded = kept.or(node) == Some(StepStatus::Succeeded);
            assert!(succeeded, "{} is reused only if it succeeded", step.id);
        }
    }
}
