//! One stream of commands on several stores: what is answered and what is then stored has to be the same
//! after every command, whatever the store is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use telecine_engine::activity::{ErrorClass, Growth, Progress, Usage};
use telecine_engine::committer::{CommitError, Committer};
use telecine_engine::definition::Definition;
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::InProcessDispatcher;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::machine::{self, Command};
use telecine_engine::objects::{Artifact, StoredArtifact};
use telecine_engine::queue::{Free, Machine, Queue};
use telecine_engine::run::{Failure, Run, RunStatus, Snapshot, Step, StepStatus, StoreUrls};
use telecine_engine::store::{
    Claim, ClaimRequest, Content, DefinitionRecord, Fence, NewCheckpoint, Outcome, RequestKey,
    Store, StoreError,
};

use super::Random;

/// The activity of every step.
const ACTIVITY: &str = "test.step@1";
/// Runs of a stream: more of them would meet each other less.
const RUNS: usize = 3;
/// Sessions that are open at a time.
const SESSIONS: usize = 2;
/// No session of a stream ends by itself.
const LEASE: Duration = Duration::from_secs(3600);
/// Events of a run that are compared; no stream makes as many.
const EVENTS: usize = 10_000;

/// What is done next, the same to every store.
#[derive(Debug, Clone)]
enum Deed {
    Submit {
        run: RunId,
        definition: Arc<Definition>,
        fingerprint: String,
        key: Option<RequestKey>,
    },
    Claim(SessionId, usize),
    Fold(RunId, Box<Command>, Option<SessionId>),
    /// Executes the latest plan, whichever that is.
    Reopen(RunId),
    Checkpoint(Fence, Box<NewCheckpoint>),
    Refuse(Fence),
    Deadline(Fence),
    Progress(Fence, u64),
    Allocate(Fence, u32),
    Publish(Fence, u64),
    /// Ends a session and opens another.
    Replace(SessionId, SessionId),
}

/// A store, with a committer as a process has it.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    store: Arc<dyn Store>,
    committer: Committer,
}

/// The stream, and what it goes by: the first of the stores.
#[derive(Debug)]
struct Stream {
    random: Random,
    runs: Vec<RunId>,
    sessions: Vec<SessionId>,
    opened: usize,
}

/// Does `deeds` things by seeded chance to empty stores, and compares them after each.
///
/// # Errors
/// What two of them do not agree on, after which deed.
pub async fn compare(
    seed: u64,
    deeds: usize,
    stores: Vec<(&'static str, Arc<dyn Store>)>,
) -> Result<(), String> {
    let subjects: Vec<Subject> = stores.into_iter().map(Subject::new).collect();
    let mut stream = Stream {
        random: Random::new(seed),
        runs: Vec::new(),
        sessions: (0..SESSIONS).map(session).collect(),
        opened: SESSIONS,
    };
    for subject in &subjects {
        for session in &stream.sessions {
            subject.open(session).await;
        }
    }
    for number in 0..deeds {
        let deed = stream.next(&subjects[0]).await;
        let after = |what: String| format!("deed {number}, {deed:?}: {what}");
        let mut answers = Vec::new();
        for subject in &subjects {
            answers.push((subject.name, subject.answer(&deed).await));
        }
        agree(&answers).map_err(after)?;
        if let Deed::Submit { run, .. } = &deed {
            stream.runs.push(run.clone());
        }
        for run in &stream.runs {
            let mut states = Vec::new();
            for subject in &subjects {
                states.push((subject.name, subject.look(run).await));
            }
            agree(&states).map_err(after)?;
        }
    }
    Ok(())
}

fn session(number: usize) -> SessionId {
    SessionId::from(format!("session_{number:04}"))
}

/// Whether all say the same.
fn agree(said: &[(&str, Value)]) -> Result<(), String> {
    let Some(((first, expected), others)) = said.split_first() else {
        return Ok(());
    };
    match others.iter().find(|(_, value)| value != expected) {
        None => Ok(()),
        Some((other, value)) => {
            let (place, one, two) = difference(expected, value);
            Err(format!(
                "{first} says {one} at {place:?}, {other} says {two}"
            ))
        }
    }
}

/// The first place where two values differ.
fn difference(one: &Value, two: &Value) -> (String, Value, Value) {
    let keys: Vec<String> = match (one, two) {
        (Value::Object(one), Value::Object(two)) => one.keys().chain(two.keys()).cloned().collect(),
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            (0..one.len()).map(|index| index.to_string()).collect()
        }
        _ => return (String::new(), one.clone(), two.clone()),
    };
    let part = |value: &Value, key: &str| {
        let path = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        value.pointer(&path).cloned().unwrap_or_default()
    };
    let parts = keys
        .into_iter()
        .map(|key| (part(one, &key), part(two, &key), key));
    for (one, two, key) in parts {
        if one != two {
            let (below, one, two) = difference(&one, &two);
            return (format!("{key}/{below}"), one, two);
        }
    }
    (String::new(), one.clone(), two.clone())
}

impl Subject {
    fn new((name, store): (&'static str, Arc<dyn Store>)) -> Self {
        let definitions = Arc::new(Definitions::new(store.clone()));
        let dispatcher = Arc::new(InProcessDispatcher::default());
        let committer = Committer::start(store.clone(), definitions, dispatcher);
        Self {
            name,
            store,
            committer,
        }
    }

    async fn open(&self, session: &SessionId) {
        let opened = self.store.open_session(session, "stream", LEASE).await;
        opened.expect("a session opens");
    }

    async fn answer(&self, deed: &Deed) -> Value {
        match deed {
            Deed::Submit { .. } => self.submit(deed).await,
            Deed::Claim(session, slots) => {
                claims(self.committer.claim(request(session, *slots)).await)
            }
            Deed::Fold(run, command, next) => {
                let next = next.as_ref().map(|session| request(session, 1));
                let command = (**command).clone();
                claims(self.committer.fold_and_claim(run, command, next).await)
            }
            Deed::Reopen(run) => self.reopen(run).await,
            Deed::Checkpoint(fence, checkpoint) => {
                answer(self.store.save_checkpoint(fence, checkpoint).await)
            }
            Deed::Refuse(fence) => answer(self.store.refuse_checkpoint(fence).await),
            Deed::Deadline(fence) => answer(self.store.set_deadline(fence, LEASE).await),
            Deed::Progress(fence, counter) => {
                let progress = Progress {
                    counter: *counter,
                    ..Progress::default()
                };
                let lost = self.store.save_progress(&[(fence.clone(), progress)]).await;
                answer(lost.map(|lost| lost.len()))
            }
            Deed::Allocate(fence, above) => {
                let keys = Some("film/g{n}/*");
                let allocated = self.store.allocate_generation(fence, "film", *above, keys);
                answer(allocated.await)
            }
            Deed::Publish(fence, generation) => {
                let moved = self.store.publish(fence, "film", *generation).await;
                answer(moved.map(|moved| format!("{moved:?}")))
            }
            Deed::Replace(old, new) => {
                let ended = self.committer.end_session(old).await.map(drop);
                self.open(new).await;
                outcome(ended.map(|()| Value::Null))
            }
        }
    }

    async fn submit(&self, deed: &Deed) -> Value {
        let Deed::Submit {
            run,
            definition,
            fingerprint,
            key,
        } = deed
        else {
            return Value::Null;
        };
        let record = DefinitionRecord {
            digest: definition.digest(),
            name: definition.name.clone(),
            version: definition.version,
            canonical: definition.canonical(),
        };
        let saved = self.store.save_definition(&record).await;
        saved.expect("a definition is saved");
        let queued = queued(run, definition, fingerprint);
        let new = machine::plan_run(queued, definition, chrono::DateTime::UNIX_EPOCH);
        let created = match key {
            Some(key) => self.committer.create_once(new, key.clone()).await,
            None => self.committer.create(new, false).await,
        };
        outcome(created.map(|created| json!(format!("{created:?}"))))
    }

    /// A plan has an id of its own in each store.
    async fn reopen(&self, run: &RunId) -> Value {
        let plan = self.store.load_plan(run).await.expect("a plan can be read");
        let Some(plan) = plan else {
            return json!("there is no plan");
        };
        let plan = Box::new(plan);
        let reopened = self.committer.fold(run, Command::Reopen { plan }).await;
        outcome(reopened.map(|()| Value::Null))
    }

    /// Everything that is stored of a run, but for times.
    async fn look(&self, run: &RunId) -> Value {
        let snapshot = match self.store.snapshot(run).await {
            Ok(snapshot) => snapshot,
            Err(error) => return json!(kind(&error)),
        };
        let events = self.store.events(run, 0, EVENTS).await;
        let plan = self.store.load_plan(run).await.expect("a plan can be read");
        let waiting = self.store.waiting(Some(run), EVENTS).await;
        let waiting = waiting.expect("what waits can be read").into_iter();
        let published = self.store.publication("film").await;
        let mut look = json!({
            "snapshot": pages(&snapshot),
            "events": events.expect("events can be read"),
            "plan": plan,
            "waiting": waiting.map(|it| it.step.to_string()).collect::<Vec<_>>(),
            "published": published.expect("a publication can be read"),
        });
        forget_times(&mut look);
        look
    }
}

fn pages(snapshot: &Snapshot) -> Value {
    let steps = snapshot.steps.iter().map(|record| {
        json!({"step": record.step, "attempts": record.attempts, "artifacts": record.artifacts})
    });
    json!({
        "run": snapshot.run,
        "nodes": snapshot.nodes,
        "steps": steps.collect::<Vec<_>>(),
        "former": snapshot.former,
    })
}

/// Times differ, and ids of plans. Whether there is a time does not.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let differs = key == "at" || key.ends_with("_at") || key == "wall_s";
                let is_plan = matches!(key.as_str(), "id" | "plan")
                    && member.as_str().is_some_and(|id| id.starts_with("pl"));
                match differs || is_plan {
                    true if !member.is_null() => *member = json!("some"),
                    true => {}
                    false => forget_times(member),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(forget_times),
        _ => {}
    }
}

fn kind(error: &StoreError) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

fn answer<T: serde::Serialize>(done: Result<T, StoreError>) -> Value {
    match done {
        Ok(value) => json!(value),
        Err(error) => json!(kind(&error)),
    }
}

fn outcome(done: Result<Value, CommitError>) -> Value {
    match done {
        Ok(value) => value,
        Err(CommitError::Store(error)) => json!(kind(&error)),
        Err(error) => json!(error.to_string()),
    }
}

fn claims(claimed: Result<Vec<Claim>, CommitError>) -> Value {
    let one = |claim: Claim| {
        let checkpoint = claim
            .checkpoint
            .map(|it| json!([it.seq, it.value, it.covers, it.compat]));
        json!({
            "fence": format!("{:?}", claim.fence), "attempt": claim.attempt,
            "activity": claim.activity, "kind": claim.kind.to_string(), "input": claim.input,
            "definition": claim.definition, "checkpoint": checkpoint,
        })
    };
    outcome(claimed.map(|claims| claims.into_iter().map(one).collect()))
}

fn request(session: &SessionId, slots: usize) -> ClaimRequest {
    let machine = Machine::with_slots(slots);
    ClaimRequest {
        session: session.clone(),
        run: None,
        machine,
        free: Free::new(machine.room()),
        activities: vec![ACTIVITY.to_owned()],
    }
}

fn queued(run: &RunId, definition: &Definition, fingerprint: &str) -> Run {
    Run {
        id: run.clone(),
        workflow: definition.name.clone(),
        version: definition.version,
        definition: definition.digest(),
        status: RunStatus::Queued,
        round: 1,
        revision: 0,
        events: 0,
        input: json!({}),
        fingerprint: fingerprint.to_owned(),
        stores: StoreUrls {
            source: String::new(),
            media: String::new(),
        },
        queue: Queue::default(),
        priority: 0,
        labels: BTreeMap::new(),
        output: None,
        error: None,
        created_at: chrono::DateTime::UNIX_EPOCH,
        started_at: None,
        ended_at: None,
    }
}

impl Stream {
    /// What is done next, by chance and by what the subject holds.
    async fn next(&mut self, subject: &Subject) -> Deed {
        let run = self.random.pick(&self.runs).cloned();
        let Some(run) = run.filter(|_| self.runs.len() >= RUNS || !self.random.chance(15)) else {
            return self.submit();
        };
        let snapshot = match subject.store.snapshot(&run).await {
            Ok(snapshot) => snapshot,
            // A submission that found another run made none.
            Err(_) => return self.claim(),
        };
        let steps: Vec<&Step> = snapshot.steps.iter().map(|it| &it.step).collect();
        let running: Vec<&Step> = steps
            .iter()
            .filter(|step| step.status == StepStatus::Running)
            .copied()
            .collect();
        match self.random.below(20) {
            0..=4 => self.claim(),
            5 => self.replace(),
            6 => Deed::Reopen(run),
            7 if self.random.chance(30) => Deed::Fold(run, Box::new(cancel()), None),
            7..=9 if snapshot.run.status.is_stopped() => Deed::Reopen(run),
            7..=9 => match self.random.pick(&steps) {
                Some(step) => Deed::Fold(run, Box::new(self.nudge(&step.id)), None),
                None => self.claim(),
            },
            luck => match self.random.pick(&running) {
                Some(step) => self.of_attempt(&run, step, luck),
                None => self.claim(),
            },
        }
    }

    fn submit(&mut self) -> Deed {
        let number = self.runs.len();
        // Now and then the same request again.
        let same = number > 0 && self.random.chance(25);
        let fingerprint = if same { number - 1 } else { number };
        let key = self.random.chance(30).then(|| RequestKey {
            key: format!("key {}", self.random.below(2)),
            digest: format!("{fingerprint}"),
        });
        Deed::Submit {
            run: RunId::from(format!("job_{number:04}")),
            definition: Arc::new(super::definition(&mut self.random)),
            fingerprint: format!("request {fingerprint}"),
            key,
        }
    }

    fn session(&mut self) -> SessionId {
        self.sessions[self.random.below(SESSIONS)].clone()
    }

    fn claim(&mut self) -> Deed {
        let slots = 1 + self.random.below(3);
        Deed::Claim(self.session(), slots)
    }

    fn replace(&mut self) -> Deed {
        let place = self.random.below(SESSIONS);
        let new = session(self.opened);
        self.opened += 1;
        let old = std::mem::replace(&mut self.sessions[place], new.clone());
        Deed::Replace(old, new)
    }

    /// Something that may or may not be allowed.
    fn nudge(&mut self, step: &StepId) -> Command {
        let step = step.clone();
        match self.random.below(4) {
            0..=1 => Command::Wake { step },
            2 => Command::Hold {
                step,
                error: self.failure(),
            },
            _ => Command::Lose { step, fence: 1 },
        }
    }

    fn of_attempt(&mut self, run: &RunId, step: &Step, luck: usize) -> Deed {
        let stale = u64::from(self.random.chance(10));
        let fence = Fence {
            run: run.clone(),
            step: step.id.clone(),
            fence: step.fence - stale.min(step.fence),
        };
        match luck {
            10..=11 => Deed::Checkpoint(fence, Box::new(self.checkpoint(step))),
            12 => match self.random.below(4) {
                0 => Deed::Refuse(fence),
                1 => Deed::Deadline(fence),
                _ => Deed::Progress(fence, self.random.bits() % 100),
            },
            13 => match self.random.chance(50) {
                true => Deed::Allocate(fence, u32::from(self.random.chance(20)) * 5),
                false => Deed::Publish(fence, 1 + self.random.bits() % 3),
            },
            _ => {
                let command = self.ending(fence);
                let next = self.random.chance(60).then(|| self.session());
                Deed::Fold(run.clone(), Box::new(command), next)
            }
        }
    }

    fn checkpoint(&mut self, step: &Step) -> NewCheckpoint {
        let number = self.random.below(1000);
        let latest = step.checkpoint.as_ref().map_or(0, |head| head.seq);
        let by = Growth::between(&json!([1]), &json!([1, number]));
        let content = match (self.random.below(3), by) {
            // It may or may not grow from a list that is there.
            (0, Some(by)) => Content::Grown { from: latest, by },
            (1, _) => Content::Whole(json!([number, 2])),
            _ => Content::Whole(json!([1])),
        };
        let artifact = Artifact {
            key: format!("objects/{}", number % 7),
            size: 1,
            sha256: (number % 2).to_string().repeat(64),
            media_type: "video/mp4".to_owned(),
        };
        let artifact = StoredArtifact {
            artifact,
            etag: self.random.chance(50).then(|| number.to_string()),
        };
        NewCheckpoint {
            content,
            covers: None,
            compat: String::new(),
            artifacts: self
                .random
                .chance(50)
                .then_some(artifact)
                .into_iter()
                .collect(),
        }
    }

    fn ending(&mut self, fence: Fence) -> Command {
        let (step, fence) = (fence.step, fence.fence);
        let usage = Usage::default();
        match self.random.below(10) {
            0 => Command::Release { step, fence, usage },
            1 => Command::Lose { step, fence },
            2..=4 => Command::Fail {
                step,
                fence,
                error: self.failure(),
                usage,
                warnings: Vec::new(),
            },
            _ => Command::Complete {
                step,
                fence,
                outcome: Outcome {
                    output: json!({"list": vec![1; self.random.below(3)]}),
                    ..Outcome::default()
                },
            },
        }
    }

    fn failure(&mut self) -> Failure {
        let classes = [
            ErrorClass::Transient,
            ErrorClass::Transient,
            ErrorClass::Bug,
            ErrorClass::Stalled,
            ErrorClass::Input,
            ErrorClass::Config,
        ];
        Failure {
            class: classes[self.random.below(classes.len())],
            code: "simulated".to_owned(),
            message: "the stream wants it".to_owned(),
            step: None,
        }
    }
}

fn cancel() -> Command {
    Command::Cancel {
        by: "the stream".to_owned(),
        reason: None,
    }
}
