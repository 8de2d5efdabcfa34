//! Claims within a transaction. A worker that reports the end of an attempt asks for the next step
//! at once, and mostly gets one that became ready by that very report: it is written once, as
//! running.

use std::collections::BTreeSet;

use super::batch::Batch;
use super::{Answer, Work};
use crate::id::{RunId, StepId};
use crate::machine::{self, Command, Facts, View};
use crate::run::StepStatus;
use crate::store::{Claim, ClaimRequest, Fence, StepSet, StoreError};

/// What works ask for that ask alike: a request for all of them.
pub(super) struct Wish {
    request: ClaimRequest,
    /// Numbers of the works, with how many steps each wants.
    works: Vec<(usize, usize)>,
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
        let share = (index, request.limit);
        match wishes.iter_mut().find(|wish| wish.is_like(request)) {
            Some(wish) => {
                wish.request.limit += request.limit;
                wish.works.push(share);
            }
            None => wishes.push(Wish {
                request: request.clone(),
                works: vec![share],
            }),
        }
    }
    wishes
}

impl Wish {
    fn is_like(&self, other: &ClaimRequest) -> bool {
        let mine = &self.request;
        mine.session == other.session
            && mine.run == other.run
            && mine.activities == other.activities
    }

    fn fits(&self, run: &RunId, activity: &str) -> bool {
        self.request.run.as_ref().is_none_or(|only| only == run)
            && self.request.activities.iter().any(|mine| mine == activity)
    }
}

/// A step that can be claimed, in the order in which steps are: oldest run first, then in the order
/// of the definition and of its lists.
type Place = (RunId, usize, StepId);

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

    /// Steps in the store that the wishes fit, so that their runs can be locked with the others.
    pub(super) async fn candidates(
        &mut self,
        wishes: &[Wish],
    ) -> Result<Vec<(RunId, StepId)>, StoreError> {
        let mut candidates = Vec::new();
        for wish in wishes {
            candidates.extend(self.tx.claimable(&wish.request).await?);
        }
        Ok(candidates)
    }

    /// Claims as many steps as were wished for: candidates that are still ready now that their runs
    /// are locked, and steps that became ready in this transaction.
    pub(super) async fn claim(
        &mut self,
        wishes: &[Wish],
        candidates: &[(RunId, StepId)],
    ) -> Result<(), StoreError> {
        if wishes.is_empty() {
            return Ok(());
        }
        let mut pool = self.ready(candidates).await?;
        for wish in wishes {
            let mut claims = self.take(wish, &mut pool)?;
            self.add_checkpoints(&mut claims).await?;
            self.hand_out(wish, claims);
        }
        Ok(())
    }

    async fn ready(
        &mut self,
        candidates: &[(RunId, StepId)],
    ) -> Result<BTreeSet<Place>, StoreError> {
        let unknown: Vec<_> = candidates
            .iter()
            .filter(|(run, step)| {
                let folding = self.runs.get(run);
                folding.is_some_and(|folding| folding.view.step(step).is_none())
            })
            .map(|(run, step)| (run.clone(), StepSet::One(step.clone())))
            .collect();
        self.load(&unknown).await?;
        let mut pool = BTreeSet::new();
        for (run, folding) in &self.runs {
            // A list that was read anew gives new steps the names of older ones, and only the store
            // knows how many attempts those had.
            if folding.view.run.round == 1 {
                let opened = folding.view.opened();
                pool.extend(opened.map(|(place, step)| (run.clone(), place, step.id.clone())));
            }
        }
        for (run, step) in candidates {
            pool.extend(self.runs.get(run).and_then(|folding| {
                let row = folding.view.step(step)?;
                let place = folding.view.place(&step.node)?;
                (row.status == StepStatus::Ready).then(|| (run.clone(), place, step.clone()))
            }));
        }
        Ok(pool)
    }

    fn take(&mut self, wish: &Wish, pool: &mut BTreeSet<Place>) -> Result<Vec<Claim>, StoreError> {
        let wanted = self.wanted(wish);
        let (mut claims, mut left) = (Vec::new(), BTreeSet::new());
        let facts = Facts {
            now: self.now,
            ..Facts::default()
        };
        for (run, place, step) in std::mem::take(pool) {
            let view = self.runs.get_mut(&run).map(|folding| &mut folding.view);
            let fitting = view.filter(|view| {
                let activity = view.step(&step).map(|step| step.activity.as_str());
                activity.is_some_and(|activity| wish.fits(&run, activity))
            });
            match fitting {
                Some(view) if claims.len() < wanted => {
                    let command = Command::Claim {
                        step: step.clone(),
                        session: wish.request.session.clone(),
                    };
                    machine::decide(view, &command, &facts)
                        .map_err(|why| StoreError::Corrupt(why.to_string()))?;
                    claims.extend(claim(view, &step, &facts));
                }
                _ => {
                    left.insert((run, place, step));
                }
            }
        }
        *pool = left;
        Ok(claims)
    }

    /// Steps that the works want together, but for those whose command was refused: they get none.
    fn wanted(&self, wish: &Wish) -> usize {
        let accepted = wish
            .works
            .iter()
            .filter(|(work, _)| self.answers[*work].is_ok());
        accepted.map(|(_, limit)| limit).sum()
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

    /// Gives each work that was not refused its share.
    fn hand_out(&mut self, wish: &Wish, claims: Vec<Claim>) {
        let mut claims = claims.into_iter();
        for (work, limit) in &wish.works {
            if self.answers[*work].is_ok() {
                let share = claims.by_ref().take(*limit).collect();
                self.answers[*work] = Ok(Answer::Claimed(share));
            }
        }
    }
}

/// What an attempt needs, but for its checkpoint.
fn claim(view: &View, id: &StepId, facts: &Facts) -> Option<Claim> {
    let step = view.step(id)?;
    let age = step.started_at.map(|at| facts.now - at);
    Some(Claim {
        fence: Fence {
            run: view.run.id.clone(),
            step: id.clone(),
            fence: step.fence,
        },
        attempt: step.attempts,
        activity: step.activity.clone(),
        input: step.input.clone().unwrap_or_default(),
        definition: view.run.definition.clone(),
        stores: view.run.stores.clone(),
        checkpoint: None,
        age: age.and_then(|age| age.to_std().ok()).unwrap_or_default(),
    })
}
