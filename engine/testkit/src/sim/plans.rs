//! Histories of one run whose retry plans meet a world that moves: objects go or rot, the source is replaced,
//! tools are upgraded, somebody edits the plan, and all of it between what is shown and what is executed.

mod check;
mod edits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::DateTime;
use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::definition::{Definition, OnFailure};
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::machine::Command;
use telecine_engine::objects::{Artifact, StoredArtifact};
use telecine_engine::queue::Queue;
use telecine_engine::retry::edits::{Edit, RecordedEdit};
use telecine_engine::retry::plan::{Action, Given, RetryPlan, compute};
use telecine_engine::retry::reuse::SourceIdentity;
use telecine_engine::retry::world::{
    Identity, Installed, Source, Verdict, Verdicts, Verification, Verified, World,
};
use telecine_engine::run::{Failure, Run, RunStatus, StepStatus, StoreUrls};
use telecine_engine::store::Outcome;

use super::{Model, Random, definition_with_inputs, redefined};

/// Rounds after which a history is left as it is.
const ROUNDS: u32 = 5;
/// Commands within which a round has to come to its end.
const COMMANDS: usize = 5_000;

/// How a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedReport {
    /// The last state of the run.
    pub status: RunStatus,
    /// Plans that were executed.
    pub executed: u32,
    /// Plans that the world moved under while somebody looked at them.
    pub stale: u32,
    /// Steps that made objects again and nothing else.
    pub mended: u32,
    /// Edits that were made.
    pub edits: u32,
    /// Plans that were executed with another definition.
    pub moved: u32,
    /// Plans that would not have come to an output.
    pub refused: u32,
    /// Plans that would have changed what is published.
    pub kept_as_published: u32,
}

/// What a step has published.
#[derive(Debug, Clone)]
struct Publication {
    /// Nodes that it came from, and those that it was made without.
    led: BTreeSet<String>,
    /// What was executed then.
    definition: Arc<Definition>,
}

/// One run, its objects, and the chance that drives both.
#[derive(Debug)]
pub struct Planned {
    model: Model,
    random: Random,
    /// What has become of each object that was ever made.
    objects: BTreeMap<String, Verdict>,
    source: Source,
    /// Version of the tools.
    tools: u32,
    mends: bool,
    /// Steps that have published, and what led to them.
    published: BTreeMap<StepId, Publication>,
    /// Those of them that the plan knew which is being executed. What it says of steps beside one that publishes
    /// in the same round was seen before that.
    known: BTreeMap<StepId, Publication>,
    /// Nodes that may run again: an object of theirs is gone or damaged, they are given what they have, or they
    /// publish the same once more.
    again: BTreeSet<String>,
    /// What the plan that is executed says; none in the first round.
    plan: Option<RetryPlan>,
    /// Steps that ran in this round.
    ran: BTreeSet<StepId>,
    report: PlannedReport,
}

impl Planned {
    /// A run of a definition that the seed says.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let definition = definition_with_inputs(&mut random);
        let run = Run {
            id: RunId::from(format!("job_{seed}")),
            workflow: definition.name.clone(),
            version: definition.version,
            definition: definition.digest(),
            status: RunStatus::Queued,
            round: 1,
            revision: 0,
            events: 0,
            input: json!({"source": "a.mp4"}),
            fingerprint: "first".to_owned(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: BTreeMap::new(),
            output: None,
            error: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        };
        Self {
            model: Model::start(run, Arc::new(definition)),
            mends: random.chance(50),
            random,
            objects: BTreeMap::new(),
            source: Source::Same,
            tools: 1,
            published: BTreeMap::new(),
            known: BTreeMap::new(),
            again: BTreeSet::new(),
            plan: None,
            ran: BTreeSet::new(),
            report: PlannedReport {
                status: RunStatus::Queued,
                executed: 0,
                stale: 0,
                mended: 0,
                edits: 0,
                moved: 0,
                refused: 0,
                kept_as_published: 0,
            },
        }
    }

    /// Runs to the end, holding every plan against what it says.
    ///
    /// # Panics
    /// If a plan says what does not happen, or something happens that it does not say.
    #[must_use]
    pub fn run(mut self) -> PlannedReport {
        for _ in 0..ROUNDS {
            self.round();
            if let Some(plan) = self.plan.take() {
                check::round(&plan, (&self.model, &self.ran));
            }
            self.report.status = self.model.run.status;
            if self.model.run.status == RunStatus::Succeeded || !self.execute() {
                break;
            }
        }
        self.report
    }

    /// Runs until the run stops.
    fn round(&mut self) {
        self.ran.clear();
        for _ in 0..COMMANDS {
            self.model.check();
            if self.model.run.status.is_stopped() {
                return;
            }
            self.step();
            if self.random.chance(2) {
                self.move_world();
            }
        }
        panic!("the round does not end: {:?}", self.model.run);
    }

    fn step(&mut self) {
        let running = self.model.having(StepStatus::Running);
        let ready = self.model.having(StepStatus::Ready);
        let backoff = self.model.having(StepStatus::Backoff);
        let by = "the history".to_owned();
        if self.random.chance(1) {
            let cancel = Command::Cancel { by, reason: None };
            self.model
                .fold(&cancel)
                .expect("a run that moves can be cancelled");
        } else if let Some(id) = self
            .random
            .pick(&ready)
            .cloned()
            .filter(|_| self.random.chance(60))
        {
            self.claim(&id);
        } else if let Some(id) = self.random.pick(&running).cloned() {
            match self.random.chance(30) {
                true => self.save(&id),
                false => self.end(&id),
            }
        } else if let Some(step) = self.random.pick(&backoff).cloned() {
            let wake = Command::Wake { step };
            self.model.fold(&wake).expect("a step in backoff wakes");
        }
    }

    fn claim(&mut self, id: &StepId) {
        if let Some(plan) = &self.plan {
            check::claim(plan, id, &self.model);
            let publishes = self.known.keys().any(|by| by.node == id.node);
            for publication in self.known.iter().filter(|_| !publishes) {
                let now = (self.model.definition().as_ref(), &self.again);
                check::claim_leaves_what_is_published(publication, id, now);
            }
        }
        self.ran.insert(id.clone());
        self.model.claim(id);
    }

    fn save(&mut self, id: &StepId) {
        let object = self.object(id);
        let tools = self.tools.to_string();
        self.model.save_checkpoint(id, &tools, object);
    }

    /// A new object of a step.
    fn object(&mut self, id: &StepId) -> StoredArtifact {
        let key = format!("{id}/{}", self.objects.len());
        self.objects.insert(key.clone(), Verdict::Present);
        let artifact = Artifact {
            sha256: key.clone(),
            key,
            size: 1,
            media_type: "video/mp4".to_owned(),
        };
        artifact.into()
    }

    fn end(&mut self, id: &StepId) {
        let fence = self.model.steps[id].fence;
        let step = id.clone();
        let usage = Usage::default();
        let misses = self.misses(id);
        let fail = |class, code: &str| Command::Fail {
            step: step.clone(),
            fence,
            error: Failure {
                class,
                code: code.to_owned(),
                message: "the history wants it".to_owned(),
                step: None,
            },
            usage,
            warnings: Vec::new(),
        };
        let command = match self.random.below(12) {
            _ if misses => fail(ErrorClass::Input, "object_missing"),
            0 => Command::Lose { step, fence },
            1 => Command::Release { step, fence, usage },
            2 | 3 => fail(ErrorClass::Transient, "simulated"),
            4 => {
                let classes = [
                    ErrorClass::Resource,
                    ErrorClass::Bug,
                    ErrorClass::Stalled,
                    ErrorClass::Input,
                    ErrorClass::Config,
                    ErrorClass::Dependency,
                    ErrorClass::Timeout,
                ];
                fail(classes[self.random.below(classes.len())], "simulated")
            }
            _ => self.success(id, fence),
        };
        self.model
            .fold(&command)
            .expect("the owner of a step may end it");
    }

    /// Whether an object is gone that a step needs which reads what earlier ones made.
    fn misses(&self, id: &StepId) -> bool {
        let definition = self.model.definition().clone();
        let needs = &definition.steps[&id.node].needs;
        let reads = definition.steps[&id.node].on_failure == OnFailure::Fail;
        let gone = |artifact: &StoredArtifact| self.objects[&artifact.key] == Verdict::Missing;
        let made = self.model.artifacts.iter();
        let mut made = made.filter(|(step, _)| needs.iter().any(|need| need.step == step.node));
        self.plan.is_some() && reads && made.any(|(_, artifacts)| artifacts.iter().any(gone))
    }

    /// What was damaged is made again under new names, and everything else stays.
    fn success(&mut self, id: &StepId, fence: u64) -> Command {
        let damaged = self.model.damaged(id);
        self.report.mended += u32::from(!damaged.is_empty());
        if self.random.chance(3) {
            self.publish(id);
        }
        let made = damaged.len().max(1);
        let items = self.random.below(4);
        Command::Complete {
            step: id.clone(),
            fence,
            outcome: Outcome {
                output: json!({"list": vec![1; items]}),
                artifacts: (0..made).map(|_| self.object(id)).collect(),
                ..Outcome::default()
            },
        }
    }

    /// Publishes what has led to a step.
    fn publish(&mut self, by: &StepId) {
        let definition = self.model.definition().clone();
        let led = check::above(&definition, &by.node).into_iter();
        let publication = Publication {
            led: led.map(str::to_owned).collect(),
            definition: definition.clone(),
        };
        self.published.entry(by.clone()).or_insert(publication);
    }

    /// Something happens outside of the run.
    fn move_world(&mut self) {
        let keys: Vec<String> = self.objects.keys().cloned().collect();
        match self.random.below(12) {
            0 => self.tools += 1,
            1 => {
                let etag = self.random.bits().to_string();
                self.source = Source::Replaced(Identity {
                    fingerprint: etag.clone(),
                    source: Some("a.mp4".to_owned()),
                    size: Some(1),
                    etag: Some(etag),
                });
            }
            2 => self.source = Source::Gone,
            n => {
                let found = match n % 2 {
                    0 => Verdict::Missing,
                    _ => Verdict::Corrupt,
                };
                if let Some(key) = self.random.pick(&keys) {
                    self.objects.insert(key.clone(), found);
                }
            }
        }
    }

    fn world(&self) -> World {
        let artifacts = self.model.artifacts.values().flatten();
        let verdicts: Verdicts = artifacts
            .map(|artifact| (artifact.key.clone(), self.objects[&artifact.key]))
            .collect();
        let installed = Installed {
            fingerprint: self.tools.to_string(),
            mends: self.mends,
            names_sources: None,
        };
        World {
            verdicts,
            suspects: BTreeSet::new(),
            verified: Some(Verified {
                how: Verification::Full,
                at: DateTime::UNIX_EPOCH,
                objects: 0,
            }),
            source: self.source.clone(),
            found: (self.source != Source::Gone).then(|| SourceIdentity {
                size: 1,
                etag: String::new(),
            }),
            activities: BTreeMap::from([
                ("test.step@1".to_owned(), installed.clone()),
                ("test.step@2".to_owned(), installed),
            ]),
            published: self.published.keys().cloned().collect(),
            ..World::default()
        }
    }

    fn compute(&self, (edits, onto): (&[RecordedEdit], Option<&Definition>)) -> RetryPlan {
        let snapshot = self.model.snapshot();
        let world = self.world();
        let given = Given {
            world: &world,
            edits,
            onto,
            ..Given::of(&snapshot, self.model.definition())
        };
        let plan = compute(PlanId::from("plan_1".to_owned()), given);
        check::plan(&plan, given);
        plan
    }

    /// What somebody wants to be otherwise.
    fn edits(&mut self, onto: Option<&Definition>) -> Vec<RecordedEdit> {
        let definition = onto.map(|onto| Edit::Definition {
            definition: format!("{}@{}", onto.name, onto.version),
            digest: onto.digest(),
        });
        let mut edits: Vec<_> = definition.into_iter().map(edits::recorded).collect();
        if self.random.chance(40) {
            let definition = onto.unwrap_or(self.model.definition());
            edits.extend(edits::some(&mut self.random, (&self.model, definition)));
        }
        edits
    }

    /// A plan that would come to no output comes to none if all that it runs succeeds.
    fn check_refusal(&mut self, plan: &RetryPlan, onto: Option<Arc<Definition>>) {
        let said = |warning: &String| warning.starts_with("the output of the workflow cannot");
        let blocked = plan.steps.iter().any(|it| it.action == Action::Blocked);
        if blocked || !plan.warnings.iter().any(said) {
            return;
        }
        self.report.refused += 1;
        let mut model = self.model.clone();
        model.offer(onto);
        let executable = RetryPlan {
            executable: true,
            ..plan.clone()
        };
        let reopen = Command::Reopen {
            plan: Box::new(executable),
        };
        model.fold(&reopen).expect("nothing else is in the way");
        while let Some(step) = model.having(StepStatus::Ready).pop() {
            let fence = model.claim(&step);
            let outcome = Outcome {
                output: json!({"list": [1]}),
                ..Outcome::default()
            };
            let complete = Command::Complete {
                step,
                fence,
                outcome,
            };
            model
                .fold(&complete)
                .expect("the owner of a step may end it");
        }
        let status = model.run.status;
        assert_ne!(
            status,
            RunStatus::Succeeded,
            "refused for nothing: {plan:#?}"
        );
    }

    /// Executes the plan of a run that stopped short; `false` when that is the end.
    fn execute(&mut self) -> bool {
        let mut onto = self
            .random
            .chance(25)
            .then(|| Arc::new(redefined(&mut self.random, self.model.definition())));
        let mut edits = self.edits(onto.as_deref());
        self.report.edits += u32::try_from(edits.len()).unwrap_or(u32::MAX);
        let mut shown = self.compute((&edits, onto.as_deref()));
        if check::changes_what_is_published(&shown) {
            self.report.kept_as_published += 1;
            (edits, onto) = (Vec::new(), None);
            shown = self.compute((&edits, None));
        }
        let asked = (edits.as_slice(), onto.as_deref());
        // The world moves while somebody looks at it.
        for _ in 0..self.random.below(3) {
            self.move_world();
            let now = self.compute(asked);
            self.report.stale += u32::from(now.digest != shown.digest);
            shown = now;
        }
        if self.source == Source::Gone && self.random.chance(70) {
            self.source = Source::Same;
            shown = self.compute(asked);
        }
        let bad = |artifact: &StoredArtifact| self.objects[&artifact.key] != Verdict::Present;
        let made = self.model.artifacts.iter();
        let made = made.filter(|(_, artifacts)| artifacts.iter().any(bad));
        let supplied = edits.iter().filter_map(|edit| match &edit.edit {
            Edit::Supply { step, .. } => Some(step),
            _ => None,
        });
        let again = made.map(|(step, _)| step).chain(supplied);
        let again = again.chain(self.published.keys());
        self.again = again.map(|step| step.node.clone()).collect();
        let before = self.model.clone();
        self.model.offer(onto.clone());
        let reopened = self.model.fold(&Command::Reopen {
            plan: Box::new(shown.clone()),
        });
        assert_eq!(
            reopened.is_ok(),
            shown.executable,
            "{reopened:?}: {shown:#?}"
        );
        if !shown.executable {
            assert!(!shown.warnings.is_empty(), "nobody knows why: {shown:#?}");
            self.check_refusal(&shown, onto);
            return false;
        }
        if matches!(self.source, Source::Replaced(_)) {
            self.source = Source::Same;
        }
        check::reopened(&shown, (&before, &self.model));
        self.known = self.published.clone();
        self.report.executed += 1;
        self.report.moved += u32::from(shown.changes.is_some());
        self.plan = Some(shown);
        true
    }
}
