//! One transaction over many runs. What it needs of all runs is loaded by one statement, and what
//! changed in them is written by another: a transaction costs a dozen round trips, however many
//! commands it folds, and [one](super::assumed) if this process knows all that it needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ::metrics::counter;
use chrono::{DateTime, TimeDelta, Utc};

use super::assumed::{Assumed, Known};
use super::kept::Kept;
use super::{Answer, Answered, Asking, CommitError, Edited, Replan, Work, Writer};
use crate::clock;
use crate::definition::Definition;
use crate::definitions::Definitions;
use crate::dispatch::Hint;
use crate::id::{PlanId, RunId, SessionId, StepId};
use crate::machine::{self, Changes, Command, Facts, Rejected, View};
use crate::metrics;
use crate::queue::Turns;
use crate::retry::edits::{self, Edit, RecordedEdit};
use crate::retry::plan::{self, Given, PlanState, RetryPlan};
use crate::retry::world::{Verdict, Verification, World};
use crate::run::{AttemptOutcome, RunStatus, Snapshot};
use crate::store::{
    Admission, Created, Fence, NewRun, RequestKey, StepSet, StoreError, Transaction,
};

/// Steps that are loaded with runs before it is known whether they are needed.
const STEPS_AHEAD: usize = 256;
/// How long it is enough to have looked at the objects of a plan: that they were looked at again is not
/// written any sooner.
const LOOKED_AT_AGAIN: TimeDelta = TimeDelta::minutes(1);

/// One transaction, the runs that are folded in it, and what has to follow.
pub(super) struct Batch {
    pub(super) tx: Box<dyn Transaction>,
    /// What it is prepared on is not asked for before the end.
    assumes: bool,
    definitions: Arc<Definitions>,
    /// What this process knows of runs; a run that is folded here is taken out.
    kept: Arc<Kept>,
    pub(super) known: Arc<Known>,
    pub(super) now: DateTime<Utc>,
    pub(super) runs: BTreeMap<RunId, Folding>,
    /// One for each work.
    pub(super) answers: Vec<Answered>,
    stopped: BTreeSet<RunId>,
    /// What to tell workers after the commit.
    hints: Vec<Hint>,
    /// Whose turn it is among the queues.
    pub(super) turns: Turns,
    /// Activities of attempts whose worker was gone.
    lost: Vec<String>,
    /// Whether something becomes ready by itself later.
    timers: bool,
    /// A command was refused half-way: nothing of this may be kept.
    spoiled: bool,
}

/// A run, and the commands that are still to be folded into it.
pub(super) struct Folding {
    pub(super) view: View,
    /// By the number of their work, if somebody waits for an answer.
    waiting: VecDeque<(Option<usize>, Command)>,
    /// What follows from the command that was folded last.
    follow_ups: VecDeque<Command>,
}

impl Folding {
    fn new(view: View) -> Self {
        Self {
            view,
            waiting: VecDeque::new(),
            follow_ups: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Option<Next> {
        if let Some(command) = self.follow_ups.pop_front() {
            return Some(Next {
                command,
                origin: Origin::Followed,
            });
        }
        let (work, command) = self.waiting.pop_front()?;
        Some(Next {
            command,
            origin: Origin::Asked(work),
        })
    }
}

/// A run that somebody wants.
struct Asked<'a> {
    new: &'a NewRun,
    force: bool,
    key: Option<&'a RequestKey>,
}

impl<'a> Asked<'a> {
    fn of(work: &'a Work) -> Option<Self> {
        match work {
            Work::Create { new, force, key } => Some(Self {
                new,
                force: *force,
                key: key.as_ref(),
            }),
            _ => None,
        }
    }
}

/// A command about to be folded.
struct Next {
    command: Command,
    origin: Origin,
}

/// Who wants it: a work, nobody who waits for an answer, or another command.
#[derive(Clone, Copy)]
enum Origin {
    Asked(Option<usize>),
    Followed,
}

impl Batch {
    pub(super) async fn begin(
        writer: &Writer,
        (works, asking): (usize, Asking),
    ) -> Result<Self, StoreError> {
        let Writer {
            store, kept, known, ..
        } = writer;
        let assumed = match asking {
            Asking::AtTheEnd => Assumed::begin((store, kept, known)),
            Asking::First => None,
        };
        let assumes = assumed.is_some();
        let (tx, now): (Box<dyn Transaction>, _) = match assumed {
            Some(assumed) => {
                let now = assumed.began();
                (Box::new(assumed), now)
            }
            None => {
                let asked = clock::now();
                let mut tx = store.begin().await?;
                let now = tx.now().await?;
                known.hear(now, asked);
                (tx, now)
            }
        };
        Ok(Self {
            now,
            tx,
            assumes,
            definitions: writer.definitions.clone(),
            kept: kept.clone(),
            known: known.clone(),
            runs: BTreeMap::new(),
            answers: (0..works).map(|_| Ok(Answer::Done)).collect(),
            stopped: BTreeSet::new(),
            hints: Vec::new(),
            turns: writer.turns().clone(),
            lost: Vec::new(),
            timers: false,
            spoiled: false,
        })
    }

    /// Creates the runs that works ask for, and starts them.
    pub(super) async fn create(&mut self, works: &[Work]) -> Result<(), StoreError> {
        let known = self.take_keys(works).await?;
        let asked: Vec<(usize, Asked<'_>)> = works
            .iter()
            .enumerate()
            .filter(|(index, _)| !known.contains_key(index))
            .filter_map(|(index, work)| Some((index, Asked::of(work)?)))
            .collect();
        let new: Vec<_> = asked
            .iter()
            .map(|(_, it)| Admission::of(&it.new.run, it.force))
            .collect();
        let created = match new.is_empty() {
            true => Vec::new(),
            false => self.tx.admit_runs(&new).await?,
        };
        let mut found = BTreeMap::new();
        for ((index, Asked { new, key, .. }), created) in asked.into_iter().zip(created) {
            if let (Some(key), Created::Existing(run)) = (key, &created) {
                self.tx.give_key(key, run).await?;
                found.insert(new.run.id.clone(), run.clone());
            }
            if created == Created::New {
                let definition = self.definitions.get(&new.run.definition).await?;
                let mut view = View::created(new.clone(), definition);
                // Jobs wait by it, and those who accept them may have clocks that differ.
                view.run.created_at = self.now;
                let mut folding = Folding::new(view);
                folding.waiting.push_back((None, Command::Start));
                self.runs.insert(new.run.id.clone(), folding);
            }
            self.answers[index] = Ok(Answer::Created(created));
        }
        for (index, created) in known {
            let created = match created {
                Created::Existing(run) => {
                    // The run that a request of this batch was about to make may have been found.
                    Created::Existing(found.get(&run).cloned().unwrap_or(run))
                }
                other => other,
            };
            self.answers[index] = Ok(Answer::Created(created));
        }
        Ok(())
    }

    /// Takes the keys of requests, in their order, so that transactions that want the same wait for
    /// each other and not in a circle. Answers those works whose key stands for something.
    async fn take_keys(&mut self, works: &[Work]) -> Result<BTreeMap<usize, Created>, StoreError> {
        let mut keyed: Vec<(usize, &RequestKey, &RunId)> = works
            .iter()
            .enumerate()
            .filter_map(|(index, work)| {
                let Asked { new, key, .. } = Asked::of(work)?;
                Some((index, key?, &new.run.id))
            })
            .collect();
        keyed.sort_by(|(a, one, _), (b, other, _)| (&one.key, a).cmp(&(&other.key, b)));
        let mut known = BTreeMap::new();
        for (index, key, run) in keyed {
            let taken = self.tx.take_key(key, run).await?;
            if taken.run != *run {
                known.insert(
                    index,
                    match taken.digest == key.digest {
                        true => Created::Existing(taken.run),
                        false => Created::KeyReused,
                    },
                );
            }
        }
        Ok(known)
    }

    /// Locks and loads the runs that works and candidates for a claim are about, and hands them
    /// their commands.
    pub(super) async fn open(
        &mut self,
        works: &[Work],
        candidates: &[(RunId, StepId)],
    ) -> Result<(), StoreError> {
        let folded = works.iter().filter_map(|work| match work {
            Work::Fold { run, .. } => Some(run),
            _ => None,
        });
        let wanted: BTreeSet<RunId> = folded.cloned().collect();
        let runs = candidates.iter().map(|(run, _)| run.clone());
        let runs = runs.chain(wanted.iter().cloned()).collect();
        self.lock(runs, |run| wanted.contains(run)).await?;
        for (index, work) in works.iter().enumerate() {
            if let Work::Fold { run, command, .. } = work {
                self.queue(run, (Some(index), (**command).clone()));
            }
        }
        Ok(())
    }

    /// Runs that were made in this transaction are locked and at hand already. One whose definition
    /// cannot be read is left out unless it is wanted: it must not keep others from their steps.
    async fn lock(
        &mut self,
        mut runs: BTreeSet<RunId>,
        wanted: impl Fn(&RunId) -> bool,
    ) -> Result<(), StoreError> {
        runs.retain(|run| !self.runs.contains_key(run));
        if runs.is_empty() {
            return Ok(());
        }
        let mut runs = self.tx.lock_runs(&runs).await?;
        for view in self.kept.take(&mut runs) {
            self.runs.insert(view.run.id.clone(), Folding::new(view));
        }
        if runs.is_empty() {
            return Ok(());
        }
        let mut next = Vec::new();
        for rows in self.tx.load_views(&runs.into_keys().collect()).await? {
            let run = rows.run.id.clone();
            let definition = match self.definitions.get(&rows.run.definition).await {
                Err(error @ StoreError::Corrupt(_)) if !wanted(&run) => {
                    tracing::error!(%error, run.id = %run, "a run cannot be read: its steps stay as they are");
                    continue;
                }
                definition => definition?,
            };
            let view = View::new(rows, definition);
            let steps = view.unsettled_singles();
            next.extend(steps.map(|step| (run.clone(), StepSet::One(step))));
            self.runs.insert(run, Folding::new(view));
        }
        // With what comes next in them, later transactions have nothing left to load.
        next.truncate(STEPS_AHEAD);
        self.load(&next).await
    }

    fn queue(&mut self, run: &RunId, command: (Option<usize>, Command)) {
        match self.runs.get_mut(run) {
            Some(folding) => folding.waiting.push_back(command),
            None => self.refuse(command.0, StoreError::NoRun(run.clone()).into()),
        }
    }

    fn refuse(&mut self, work: Option<usize>, error: CommitError) {
        if let Some(work) = work {
            self.answers[work] = Err(error);
        }
    }

    /// Folds the commands of all runs and everything that follows from them: in each wave one of
    /// each run.
    pub(super) async fn fold(&mut self) -> Result<(), StoreError> {
        loop {
            let wave: Vec<(RunId, Next)> = self
                .runs
                .iter_mut()
                .filter_map(|(run, folding)| Some((run.clone(), folding.next()?)))
                .collect();
            if wave.is_empty() {
                return Ok(());
            }
            let mut facts = self.facts(&wave).await?;
            for (run, next) in wave {
                let facts = Facts {
                    now: self.now,
                    outputs: facts.remove(&run).unwrap_or_default(),
                    definition: next_definition(&self.definitions, &next.command).await?,
                };
                self.decide(&run, next, &facts).await?;
            }
        }
    }

    /// Loads the steps that commands touch into the views, and answers the outputs that they read.
    /// Where those come from the store, what was folded but not written yet is written first.
    async fn facts(
        &mut self,
        wave: &[(RunId, Next)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, serde_json::Value>>, StoreError> {
        let mut known: BTreeMap<RunId, BTreeMap<_, _>> = BTreeMap::new();
        let (mut stale, mut steps, mut outputs) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (run, next) in wave {
            let Some(folding) = self.runs.get(run) else {
                continue;
            };
            let view = &folding.view;
            match machine::steps_needed(&next.command) {
                StepSet::Empty => {}
                StepSet::One(step) if view.step(&step).is_some() => {}
                which @ StepSet::One(_) => steps.push((run.clone(), which)),
                which @ (StepSet::Unsettled | StepSet::All) => {
                    stale.insert(run.clone());
                    steps.push((run.clone(), which));
                }
            }
            let mut unknown = Vec::new();
            for node in machine::outputs_needed(view, &next.command) {
                match view.output(&node) {
                    Some(output) => {
                        known.entry(run.clone()).or_default().insert(node, output);
                    }
                    None => unknown.push(node),
                }
            }
            if !unknown.is_empty() {
                stale.insert(run.clone());
                outputs.push((run.clone(), unknown));
            }
        }
        self.write(&stale).await?;
        self.load(&steps).await?;
        if !outputs.is_empty() {
            for (run, loaded) in self.tx.load_outputs(&outputs).await? {
                known.entry(run).or_default().extend(loaded);
            }
        }
        Ok(known)
    }

    /// Loads steps into the views of their runs.
    pub(super) async fn load(&mut self, wanted: &[(RunId, StepSet)]) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        for (run, step) in self.tx.load_steps(wanted).await? {
            if let Some(folding) = self.runs.get_mut(&run) {
                folding.view.add_step(step);
            }
        }
        Ok(())
    }

    /// Folds one command. What follows from a command is never refused; if it is, the run and its
    /// definition contradict each other.
    async fn decide(&mut self, run: &RunId, next: Next, facts: &Facts) -> Result<(), StoreError> {
        if let (Command::Reopen { plan }, Origin::Asked(work)) = (&next.command, next.origin)
            && !self.is_current(run, plan).await?
        {
            let why = "the plan is no longer the current one: look at the new one first";
            self.refuse(work, Rejected::Conflict(why.to_owned()).into());
            return Ok(());
        }
        let Some(folding) = self.runs.get_mut(run) else {
            return Ok(());
        };
        let before = folding.view.changed();
        let decided = machine::decide(&mut folding.view, &next.command, facts);
        let half_way = decided.is_err() && folding.view.changed() != before;
        folding.follow_ups.extend(folding.view.take_follow_ups());
        match (decided, next.origin) {
            (Ok(()), _) => {}
            (Err(why), Origin::Followed) => return Err(contradiction(&why)),
            (Err(why), Origin::Asked(_)) if half_way && self.answers.len() > 1 => {
                return Err(contradiction(&why));
            }
            (Err(why), Origin::Asked(work)) => {
                self.spoiled |= half_way;
                self.refuse(work, why.into());
                return Ok(());
            }
        }
        if let Command::Reopen { plan } = next.command {
            let state = PlanState::Executed;
            self.tx.save_plan(&RetryPlan { state, ..*plan }).await?;
        }
        Ok(())
    }

    /// Only the plan that was shown last can be executed, and once.
    async fn is_current(&mut self, run: &RunId, plan: &RetryPlan) -> Result<bool, StoreError> {
        let current = self.tx.load_plan(run).await?;
        Ok(current.is_some_and(|current| {
            current.digest == plan.digest && current.state == PlanState::Proposed
        }))
    }

    /// Writes what was folded into these runs so far. Their views stay as they are.
    async fn write(&mut self, runs: &BTreeSet<RunId>) -> Result<(), StoreError> {
        let mut changed: Vec<(RunId, Changes)> = Vec::new();
        for run in runs {
            let folding = self.runs.get_mut(run);
            let Some(folding) = folding.filter(|folding| folding.view.is_dirty()) else {
                continue;
            };
            let changes = folding.view.flush();
            self.hints.extend(changes.hints(run));
            self.timers |= changes.has_timers();
            if changes.stopped() {
                self.stopped.insert(run.clone());
            }
            let ends = changes.attempts.iter();
            let lost = ends.filter(|end| end.outcome == AttemptOutcome::Lost);
            let lost = lost.filter_map(|end| folding.view.step(&end.step));
            self.lost.extend(lost.map(|step| step.activity.clone()));
            changed.push((run.clone(), changes));
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.tx.save(changed).await
    }

    /// Whether the session of another process can be told dead.
    pub(super) async fn session_is_dead(
        &mut self,
        session: &SessionId,
    ) -> Result<bool, StoreError> {
        self.tx.session_is_dead(session).await
    }

    /// Takes from a session what it ran, and ends it; answers whether it was there. It stays, and the answer is an
    /// error, with what it runs of runs whose definition cannot be read: the others go on without them.
    pub(super) async fn end_session(
        &mut self,
        session: &SessionId,
    ) -> Result<Result<bool, CommitError>, StoreError> {
        let running = self.tx.running_of(session).await?;
        let runs = running.iter().map(|fence| fence.run.clone()).collect();
        self.lock(runs, |_| false).await?;
        let all = running.len();
        let running: Vec<Fence> = running
            .into_iter()
            .filter(|fence| self.runs.contains_key(&fence.run))
            .collect();
        let released = running.len();
        for fence in running {
            let (step, fence, run) = (fence.step, fence.fence, fence.run);
            self.queue(&run, (None, Command::Lose { step, fence }));
        }
        self.fold().await?;
        // Its steps must be released before the session goes.
        self.write_all().await?;
        if released < all {
            let why = format!("{session} stays, with what it ran of runs that cannot be read");
            return Ok(Err(StoreError::Corrupt(why).into()));
        }
        self.tx.end_session(session).await.map(Ok)
    }

    /// Computes the plan of a stopped run anew.
    pub(super) async fn replan(
        &mut self,
        run: &RunId,
        with: &Replan,
    ) -> Result<Result<Option<RetryPlan>, CommitError>, StoreError> {
        self.lock(BTreeSet::from([run.clone()]), |_| true).await?;
        let revision = self.runs.get(run).map(|folding| folding.view.run.revision);
        let moved = |edited: &Edited| Some(edited.revision) != revision;
        if with.edits.as_ref().is_some_and(moved) {
            let why = "the job has changed while the plan was made".to_owned();
            return Ok(Err(Rejected::Conflict(why).into()));
        }
        self.plan(run, with).await.map(Ok)
    }

    async fn write_all(&mut self) -> Result<(), StoreError> {
        let runs = self.runs.keys().cloned().collect();
        self.write(&runs).await
    }

    /// Writes everything, with the plans of the runs that stopped.
    pub(super) async fn finish(&mut self) -> Result<(), StoreError> {
        if self.spoiled {
            return Ok(());
        }
        self.write_all().await?;
        for run in &self.stopped.clone() {
            self.plan(run, &Replan::default()).await?;
        }
        Ok(())
    }

    /// Makes what was finished durable, and tells of it.
    pub(super) async fn commit(self, writer: &Writer) -> Result<Vec<Answered>, StoreError> {
        if self.spoiled {
            self.known.something_waits();
            return match self.assumes {
                true => Err(StoreError::Contended("it was refused half-way".to_owned())),
                false => Ok(self.answers),
            };
        }
        self.tx.commit().await?;
        if !self.hints.is_empty() {
            self.known.something_waits();
        }
        *writer.turns() = self.turns;
        for activity in self.lost {
            counter!(metrics::ATTEMPTS.name, "activity" => activity, "outcome" => "lost")
                .increment(1);
        }
        let status = |run: RunId| {
            let status = self.runs.get(&run).map(|folding| folding.view.run.status);
            Some((run, status?))
        };
        let stopped = self.stopped.into_iter().filter_map(status).collect();
        writer.tell(stopped, (&self.hints, self.timers));
        let views = self.runs.into_values().map(|folding| folding.view);
        self.kept.put(views);
        Ok(self.answers)
    }

    /// Computes and saves the plan of a run that stopped short. Who has seen a plan and looks again finds
    /// it under the id it was seen under, as long as it says the same.
    async fn plan(&mut self, run: &RunId, with: &Replan) -> Result<Option<RetryPlan>, StoreError> {
        // Most runs that stop have succeeded: there is nothing to plan.
        let status = self.runs.get(run).map(|folding| folding.view.run.status);
        if status.is_none_or(|s| !s.is_stopped() || s == RunStatus::Succeeded) {
            return Ok(None);
        }
        let current = self.tx.load_plan(run).await?;
        let current = current.filter(|plan| plan.state == PlanState::Proposed);
        let kept = current.as_ref().map_or(&[][..], |plan| &plan.edits);
        let edits = match &with.edits {
            Some(edited) => recorded(edited, (kept, self.now)),
            None => kept.to_vec(),
        };
        let mut snapshot = self.tx.snapshot(run).await?;
        let definition = self.definitions.get(&snapshot.run.definition).await?;
        let onto = match edits::definition_of(&edits) {
            Some(digest) => Some(self.definitions.get(digest).await?),
            None => None,
        };
        let world = with_suspects(&with.world, current.as_ref());
        let compute = |snapshot: &Snapshot| {
            let given = Given {
                snapshot,
                definition: &definition,
                onto: onto.as_deref(),
                world: &world,
                edits: &edits,
            };
            plan::compute(PlanId::generate(), given)
        };
        let plan = compute(&snapshot);
        if let Some(current) = current
            .as_ref()
            .filter(|current| current.digest == plan.digest)
        {
            let id = current.id.clone();
            let plan = RetryPlan { id, ..plan };
            if !says_more(&plan, current) {
                return Ok(Some(current.clone()));
            }
            self.tx.save_plan(&plan).await?;
            return Ok(Some(plan));
        }
        let plan = match &with.edits {
            Some(edited) if edits != kept => {
                self.tell_edits(run, edited).await?;
                if let Some(folding) = self.runs.get(run) {
                    snapshot.run = folding.view.run.clone();
                }
                compute(&snapshot)
            }
            _ => plan,
        };
        self.tx.save_plan(&plan).await?;
        Ok(Some(plan))
    }

    /// Writes into the history of a run what its plan is changed to.
    async fn tell_edits(&mut self, run: &RunId, edited: &Edited) -> Result<(), StoreError> {
        let (edits, by) = (edited.edits.clone(), edited.by.clone());
        self.queue(run, (None, Command::Edit { edits, by }));
        self.fold().await?;
        self.write_all().await?;
        // It had stopped before: the plan that is being made is not followed by one that knows nothing.
        self.stopped.remove(run);
        Ok(())
    }
}

/// What is known of the world, and what the plan before says of objects that nobody has read for it: those whose bytes
/// were found to be wrong are so until somebody reads them again, also if that was found while others looked.
fn with_suspects<'w>(world: &'w World, current: Option<&RetryPlan>) -> Cow<'w, World> {
    let corrupt = current.map_or(&[][..], |plan| &plan.corrupt);
    let unread = corrupt.iter().filter(|key| !world.has_read(key));
    let found: Vec<_> = unread.map(|key| (key.clone(), Verdict::Corrupt)).collect();
    if found.is_empty() {
        return Cow::Borrowed(world);
    }
    let mut world = world.clone();
    world.verdicts.extend(found);
    Cow::Owned(world)
}

/// The definition that a run has after a command, if it gets another one.
async fn next_definition(
    definitions: &Definitions,
    command: &Command,
) -> Result<Option<Arc<Definition>>, StoreError> {
    let Command::Reopen { plan } = command else {
        return Ok(None);
    };
    match &plan.changes {
        Some(changes) => definitions.get(&changes.digest).await.map(Some),
        None => Ok(None),
    }
}

/// Edits with whose they are and since when: who gives an edit again that the plan has leaves it as it was.
fn recorded(edited: &Edited, (kept, now): (&[RecordedEdit], DateTime<Utc>)) -> Vec<RecordedEdit> {
    let record = |edit: &Edit| {
        let known = kept.iter().find(|known| known.edit == *edit);
        known.cloned().unwrap_or_else(|| RecordedEdit {
            edit: edit.clone(),
            by: edited.by.clone(),
            at: now,
        })
    };
    edited.edits.iter().map(record).collect()
}

/// Whether a plan says more than one of the same digest: not by being looked at once more a moment later.
fn says_more(plan: &RetryPlan, before: &RetryPlan) -> bool {
    let (Some(now), Some(then)) = (plan.verified, before.verified) else {
        return plan.verified.is_some();
    };
    let closer = now.how != then.how && now.how == Verification::Full;
    closer || now.at - then.at > LOOKED_AT_AGAIN || plan.warnings != before.warnings
}

fn contradiction(why: &Rejected) -> StoreError {
    StoreError::Corrupt(format!("a transition could not be finished: {why}"))
}
