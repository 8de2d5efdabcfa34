//! Claims within a transaction. A worker that reports the end of an attempt asks for the next step
//! at once, and mostly gets one that became ready by that very report: it is written once, as
//! running.

use super::batch::Batch;
use super::{Answer, Work};
use crate::id::{RunId, StepId};
use crate::machine::{self, Command, Facts, View};
use crate::queue::{Kind, Lines, Room, Turns, Waiting};
use crate::run::StepStatus;
use crate::store::{Claim, ClaimRequest, Fence, StepSet, StoreError};

/// Steps of one run that are looked at for a worker of that run: those that it cannot run may be the
/// first ones.
const OF_ONE_RUN: usize = 256;

/// What works ask for that ask alike: a request for all of them, with all that is free.
pub(super) struct Wish {
    request: ClaimRequest,
    /// Numbers of the works.
    works: Vec<usize>,
    /// What was free, and is not promised to anybody else; goes back where it came from.
    room: Room,
    /// What the steps take that were claimed for it.
    spent: Room,
}

/// The wishes of works, as a rule one: that of this process's worker.
pub(super) fn wishes(works: &[Work]) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for (index, work) in works.iter().enumerate() {
        let (Work::Claim(request)
        | Work::Fold {
            next: Some(request),
            ..
        }) = work
        else {
            continue;
        };
        match wishes.iter_mut().find(|wish| wish.is_like(request)) {
            Some(wish) => wish.works.push(index),
            None => wishes.push(Wish {
                request: request.clone(),
                works: vec![index],
                room: request.free.take(),
                spent: Room::default(),
            }),
        }
    }
    wishes.retain(|wish| wish.room.attempts() > 0);
    wishes
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.request.free.give(self.room);
    }
}

impl Wish {
    fn is_like(&self, other: &ClaimRequest) -> bool {
        let mine = &self.request;
        mine.session == other.session
            && mine.run == other.run
            && mine.activities == other.activities
            && mine.machine == other.machine
    }

    /// Nothing more is claimed for it: what is left is free for others.
    pub(super) fn leave(&mut self) {
        self.request.free.give(self.room - self.spent);
        self.room = self.spent;
    }

    /// What was claimed is durable: its room is taken.
    pub(super) fn settle(mut self) {
        self.room -= self.spent;
    }
}

impl ClaimRequest {
    /// How many steps are looked at so that no step that could be claimed into `free` is missed.
    #[must_use]
    pub fn looks_at(&self, free: Room) -> usize {
        let attempts = free.attempts();
        match self.run {
            Some(_) if attempts > 0 => attempts.max(OF_ONE_RUN),
            _ => attempts,
        }
    }

    /// The steps that go next, of those that wait and fit into `free`.
    #[must_use]
    pub fn choose(
        &self,
        mut free: Room,
        waiting: Vec<Waiting>,
        turns: &mut Turns,
    ) -> Vec<(RunId, StepId)> {
        let mut lines = Lines::default();
        for waiting in waiting {
            lines.add(waiting);
        }
        let mut lines = lines.only(&self.activities, self.run.as_ref());
        let take = || lines.take((self.machine, &mut free), turns);
        std::iter::from_fn(take)
            .map(|(_, run, step)| (run, step))
            .collect()
    }
}

impl Batch {
    /// The wishes of sessions that are live, which stay so until the transaction ends. Sessions are
    /// locked before runs, here and where they are ended.
    pub(super) async fn live(&mut self, wishes: Vec<Wish>) -> Result<Vec<Wish>, StoreError> {
        let mut live = Vec::new();
        for wish in wishes {
            if self.tx.session_is_live(&wish.request.session).await? {
                live.push(wish);
            }
        }
        Ok(live)
    }

    /// Steps in the store that would go next if nothing else became ready, so that their runs can be
    /// locked with the others. Nobody looks while it is known that nothing waits.
    pub(super) async fn candidates(
        &mut self,
        wishes: &[Wish],
    ) -> Result<Vec<(RunId, StepId)>, StoreError> {
        let mut candidates = Vec::new();
        if !self.known.may_wait() {
            return Ok(candidates);
        }
        for Wish { request, room, .. } in wishes {
            let limit = request.looks_at(*room);
            if limit == 0 {
                continue;
            }
            let signs = self.known.signs();
            let waiting = self.tx.waiting(request.run.as_ref(), limit).await?;
            let seen = waiting.len();
            let chosen = request.choose(*room, waiting, &mut self.turns.clone());
            if request.run.is_none() && seen < limit && chosen.len() == seen {
                self.known.nothing_waits(signs);
            }
            candidates.extend(chosen);
        }
        Ok(candidates)
    }

    /// Claims what the wishes have room for: of the candidates that are still ready now that their
    /// runs are locked, and of the steps that became ready in this transaction.
    pub(super) async fn claim(
        &mut self,
        wishes: &mut [Wish],
        candidates: &[(RunId, StepId)],
    ) -> Result<(), StoreError> {
        if wishes.is_empty() {
            return Ok(());
        }
        let most = wishes.iter().map(|wish| wish.room.attempts()).sum();
        let lines = self.ready(candidates, most).await?;
        for wish in wishes {
            let mut claims = self.take(wish, &lines)?;
            self.add_checkpoints(&mut claims).await?;
            self.hand_out(wish, claims);
        }
        if candidates
            .iter()
            .any(|(run, step)| self.is_ready(run, step))
        {
            self.known.something_waits();
        }
        Ok(())
    }

    /// The steps that can be claimed: the candidates, and of each node at most `most` new ones.
    async fn ready(
        &mut self,
        candidates: &[(RunId, StepId)],
        most: usize,
    ) -> Result<Lines, StoreError> {
        let unknown: Vec<_> = candidates
            .iter()
            .filter(|(run, step)| {
                let folding = self.runs.get(run);
                folding.is_some_and(|folding| folding.view.step(step).is_none())
            })
            .map(|(run, step)| (run.clone(), StepSet::One(step.clone())))
            .collect();
        self.load(&unknown).await?;
        let mut lines = Lines::default();
        for folding in self.runs.values() {
            // A list that was read anew gives new steps the names of older ones, and only the store
            // knows how many attempts those had.
            if folding.view.run.round == 1 {
                folding.view.opened(most).for_each(|step| lines.add(step));
            }
        }
        for (run, step) in candidates {
            let waiting = self.runs.get(run).and_then(|folding| {
                let row = folding.view.step(step)?;
                (row.status == StepStatus::Ready).then(|| folding.view.waiting(step))?
            });
            waiting.into_iter().for_each(|step| lines.add(step));
        }
        Ok(lines)
    }

    fn take(&mut self, wish: &mut Wish, lines: &Lines) -> Result<Vec<Claim>, StoreError> {
        if self.accepted(wish).is_none() {
            return Ok(Vec::new());
        }
        let (request, mut free) = (&wish.request, wish.room);
        let mut mine = lines
            .clone()
            .only(&request.activities, request.run.as_ref());
        // What another wish took is gone.
        mine.retain(|run, step| self.is_ready(run, step));
        let facts = Facts {
            now: self.now,
            ..Facts::default()
        };
        let mut claims = Vec::new();
        while let Some((kind, run, step)) = mine.take((request.machine, &mut free), &mut self.turns)
        {
            let Some(folding) = self.runs.get_mut(&run) else {
                continue;
            };
            let command = Command::Claim {
                step: step.clone(),
                session: request.session.clone(),
            };
            machine::decide(&mut folding.view, &command, &facts)
                .map_err(|why| StoreError::Corrupt(why.to_string()))?;
            claims.extend(claim(&folding.view, (&step, kind), &facts));
        }
        wish.spent = wish.room - free;
        Ok(claims)
    }

    fn is_ready(&self, run: &RunId, step: &StepId) -> bool {
        let step = self
            .runs
            .get(run)
            .and_then(|folding| folding.view.step(step));
        step.is_some_and(|step| step.status == StepStatus::Ready)
    }

    /// The first work of a wish that was not refused: those whose command was refused get nothing.
    fn accepted(&self, wish: &Wish) -> Option<usize> {
        let mut works = wish.works.iter();
        works.find(|work| self.answers[**work].is_ok()).copied()
    }

    async fn add_checkpoints(&mut self, claims: &mut [Claim]) -> Result<(), StoreError> {
        let has_one = |claim: &&Claim| {
            let folding = self.runs.get(&claim.fence.run);
            let step = folding.and_then(|folding| folding.view.step(&claim.fence.step));
            step.is_some_and(|step| step.checkpoint.is_some())
        };
        let wanted: Vec<_> = claims
            .iter()
            .filter(has_one)
            .map(|claim| (claim.fence.run.clone(), claim.fence.step.clone()))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for (run, step, checkpoint) in self.tx.load_checkpoints(&wanted).await? {
            let of_step = |claim: &&mut Claim| claim.fence.run == run && claim.fence.step == step;
            if let Some(claim) = claims.iter_mut().find(of_step) {
                claim.checkpoint = Some(checkpoint);
            }
        }
        Ok(())
    }

    /// Gives the claims to one of the works, and none to the others: all of them are the same
    /// worker's.
    fn hand_out(&mut self, wish: &Wish, claims: Vec<Claim>) {
        let Some(accepted) = self.accepted(wish) else {
            return;
        };
        for work in &wish.works {
            if self.answers[*work].is_ok() {
                self.answers[*work] = Ok(Answer::Claimed(Vec::new()));
            }
        }
        self.answers[accepted] = Ok(Answer::Claimed(claims));
    }
}

/// What an attempt needs, but for its checkpoint.
fn claim(view: &View, (id, kind): (&StepId, Kind), facts: &Facts) -> Option<Claim> {
    let step = view.step(id)?;
    let age = step.started_at.map(|at| facts.now - at);
    Some(Claim {
        fence: Fence {
            run: view.run.id.clone(),
            step: id.clone(),
            fence: step.fence,
        },
        attempt: step.attempts,
        round: view.run.round,
        activity: step.activity.clone(),
        kind,
        input: step.input.clone().unwrap_or_default(),
        definition: view.run.definition.clone(),
        stores: view.run.stores.clone(),
        checkpoint: None,
        damaged: view.amendments.damaged.get(id).cloned().unwrap_or_default(),
        age: age.and_then(|age| age.to_std().ok()).unwrap_or_default(),
    })
}
