//! Generations: jobs of different databases that share a media store, over the same medium. Each database
//! numbers its generations by itself, so the store has to say whose `g{n}` is.
//!
//! This is `media.allocate` (`activities/src/allocate.rs`, ADR 0022). Where the store can create an object
//! only if there is none, whoever creates `g{n}/.claim` has the generation. Where it cannot, each job puts
//! a sign of its own there, and has the generation if it then sees no other's.
//!
//! Left out: what jobs write into a generation once they have it, which is the worst case here: a claim
//! that somebody removed is not there any more. Lists show what was written before they were asked for.

use stateright::{Model, Property};

use crate::Ends;

/// The model, with its bounds.
#[derive(Debug, Clone)]
pub struct Generations {
    /// The highest number that each job's database has given out: one job for each database.
    pub numbered: Vec<u8>,
    /// How often an attempt is killed, or given up and goes on nevertheless.
    pub losses: u8,
    /// How often an attempt looks before it gives up: `CLAIMS`, which is 100.
    pub looks: u8,
    /// What the store can do.
    pub store: Store,
    /// What is done.
    pub rule: Rule,
}

/// What the store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `ObjectStore::put_new`.
    Conditional,
    /// No more than put and list.
    Plain,
}

/// What is done, or left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What telecine does.
    Sound,
    /// Whoever puts the claim has it, whether or not there was one.
    Overwritten,
    /// A job that sees no sign makes its own, and looks no more.
    LooksFirst,
    /// A claim that turns out not to be needed is removed, and attempts of a job share their signs.
    Removed,
}

/// More numbers than anybody comes to within the bounds.
const NUMBERS: usize = 16;

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// By number: whose claim it holds.
    claims: Vec<Option<usize>>,
    /// By number: whose signs it holds, of which attempt.
    signs: Vec<Vec<Sign>>,
    jobs: Vec<Job>,
    attempts: Vec<Attempt>,
    losses: u8,
}

/// A job, and the fence of its attempt.
type Sign = (usize, u8);

/// A job, and what its database knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Job {
    /// Fence of the attempt that runs; 0 if none does.
    running: u8,
    fence: u8,
    /// The highest number given out.
    last: u8,
    /// What was given to this job.
    allocated: Option<u8>,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    Has(u8),
    /// The step fails with `generation_taken`: a new job is needed.
    Taken,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    job: usize,
    fence: u8,
    next: Stage,
    /// How often it has looked.
    looks: u8,
}

/// What an attempt does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Looks which is the highest generation of which the store holds anything: `highest_stored`.
    Look,
    /// Looks whether that one is the job's own: `is_own`.
    Own(u8),
    /// Puts the claim of a number: `claim`.
    Claim(Wanted),
    /// Has put a sign, and looks whether there are others: `claim_alone`.
    Alone(Wanted),
    /// There are: removes its sign.
    Yield(Wanted),
    /// Takes a number above: `Store::allocate_generation`, fenced.
    Allocate(u8),
    /// Removes the claim of the first number; the database gave the second.
    Remove(u8, u8),
    /// Says what came of it, fenced: the number, or that it was taken.
    Report(Option<u8>),
}

/// A number, and why it is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    number: u8,
    /// The database has given it to the job: no other will do.
    given: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker claims the step of a job.
    Begin(usize),
    /// The attempt of that place goes on.
    Go(usize, Stage),
    /// It is killed.
    Kill(usize),
    /// It stands still past its lease: others claim the step, and it goes on when it likes.
    GiveUp(usize),
}

impl State {
    fn owns(&self, attempt: &Attempt) -> bool {
        self.jobs[attempt.job].running == attempt.fence
    }

    fn highest(&self) -> u8 {
        let holds =
            |number: &usize| self.claims[*number].is_some() || !self.signs[*number].is_empty();
        let highest = (0..NUMBERS).rev().find(holds).unwrap_or(0);
        u8::try_from(highest).unwrap_or(u8::MAX)
    }

    /// Whether all signs are of that job, and there are some.
    fn is_alone(&self, number: u8, job: usize) -> bool {
        let signs = &self.signs[usize::from(number)];
        !signs.is_empty() && signs.iter().all(|(of, _)| *of == job)
    }

    fn is_own(&self, number: u8, job: usize) -> bool {
        match self.claims[usize::from(number)] {
            Some(owner) => owner == job,
            None => self.is_alone(number, job),
        }
    }

    fn sign(&mut self, number: u8, sign: Sign) {
        let signs = &mut self.signs[usize::from(number)];
        if !signs.contains(&sign) {
            signs.push(sign);
            signs.sort_unstable();
        }
    }

    fn unsign(&mut self, number: u8, sign: Sign) {
        self.signs[usize::from(number)].retain(|it| *it != sign);
    }

    /// `Store::allocate_generation` of the job's database.
    fn allocate(&mut self, job: usize, above: u8) -> u8 {
        let job = &mut self.jobs[job];
        let next = job.last.max(above) + 1;
        let allocated = *job.allocated.get_or_insert(next);
        job.last = job.last.max(allocated);
        allocated
    }
}

impl Generations {
    fn sign_of(&self, attempt: &Attempt) -> Sign {
        match self.rule {
            Rule::Removed => (attempt.job, 0),
            _ => (attempt.job, attempt.fence),
        }
    }

    /// Puts a claim; answers what follows.
    fn claim(&self, state: &mut State, attempt: &Attempt, wanted: Wanted) -> Stage {
        if self.store == Store::Plain {
            state.sign(wanted.number, self.sign_of(attempt));
            return match self.rule {
                Rule::LooksFirst => got(wanted, true),
                _ => Stage::Alone(wanted),
            };
        }
        let claim = &mut state.claims[usize::from(wanted.number)];
        if claim.is_none() || self.rule == Rule::Overwritten {
            *claim = Some(attempt.job);
        }
        let has = *claim == Some(attempt.job);
        got(wanted, has)
    }

    fn own(&self, state: &State, attempt: &Attempt, highest: u8) -> Stage {
        let wanted = |number| Wanted {
            number,
            given: false,
        };
        match state.is_own(highest, attempt.job) {
            // A sign of an earlier attempt may be removed by it at any time.
            true if self.store == Store::Plain && self.rule != Rule::Removed => {
                Stage::Claim(wanted(highest))
            }
            true => Stage::Allocate(highest),
            false => Stage::Claim(wanted(highest + 1)),
        }
    }

    /// One stage of an attempt; answers the next, or nothing if the attempt is over.
    fn go(&self, state: &mut State, attempt: &Attempt) -> Option<Stage> {
        Some(match attempt.next {
            Stage::Look if attempt.looks > self.looks => Stage::Report(None),
            Stage::Look => Stage::Own(state.highest()),
            Stage::Own(highest) => self.own(state, attempt, highest),
            Stage::Claim(wanted) => self.claim(state, attempt, wanted),
            Stage::Alone(wanted) => match state.is_alone(wanted.number, attempt.job) {
                true => got(wanted, true),
                false => Stage::Yield(wanted),
            },
            Stage::Yield(wanted) => {
                state.unsign(wanted.number, self.sign_of(attempt));
                got(wanted, false)
            }
            Stage::Allocate(_) if !state.owns(attempt) => return None,
            Stage::Allocate(claimed) => {
                let given = state.allocate(attempt.job, claimed - 1);
                match given == claimed {
                    true => Stage::Report(Some(given)),
                    false if self.rule == Rule::Removed => Stage::Remove(claimed, given),
                    false => Stage::Claim(Wanted {
                        number: given,
                        given: true,
                    }),
                }
            }
            Stage::Remove(claimed, number) => {
                state.claims[usize::from(claimed)] = None;
                state.unsign(claimed, self.sign_of(attempt));
                Stage::Claim(Wanted {
                    number,
                    given: true,
                })
            }
            Stage::Report(number) => {
                if state.owns(attempt) {
                    let outcome = number.map_or(Outcome::Taken, Outcome::Has);
                    state.jobs[attempt.job].outcome = Some(outcome);
                    state.jobs[attempt.job].running = 0;
                }
                return None;
            }
        })
    }
}

/// What follows from having claimed a number, or not.
fn got(wanted: Wanted, has: bool) -> Stage {
    match (has, wanted.given) {
        (true, false) => Stage::Allocate(wanted.number),
        (true, true) => Stage::Report(Some(wanted.number)),
        (false, false) => Stage::Look,
        (false, true) => Stage::Report(None),
    }
}

impl Model for Generations {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let job = |last: &u8| Job {
            running: 0,
            fence: 0,
            last: *last,
            allocated: None,
            outcome: None,
        };
        vec![State {
            claims: vec![None; NUMBERS],
            signs: vec![Vec::new(); NUMBERS],
            jobs: self.numbered.iter().map(job).collect(),
            attempts: Vec::new(),
            losses: self.losses,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, job) in state.jobs.iter().enumerate() {
            if job.running == 0 && job.outcome.is_none() {
                actions.push(Action::Begin(at));
            }
        }
        for (at, attempt) in state.attempts.iter().enumerate() {
            actions.push(Action::Go(at, attempt.next));
            if state.losses > 0 {
                actions.push(Action::Kill(at));
                if state.owns(attempt) {
                    actions.push(Action::GiveUp(at));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(at) => {
                let job = &mut state.jobs[at];
                job.fence += 1;
                job.running = job.fence;
                state.attempts.push(Attempt {
                    job: at,
                    fence: job.fence,
                    next: Stage::Look,
                    looks: 1,
                });
            }
            Action::Go(at, _) => {
                let attempt = state.attempts[at].clone();
                match self.go(&mut state, &attempt) {
                    Some(next) => {
                        state.attempts[at].next = next;
                        state.attempts[at].looks += u8::from(next == Stage::Look);
                    }
                    None => drop(state.attempts.remove(at)),
                }
            }
            Action::Kill(at) | Action::GiveUp(at) => {
                state.losses -= 1;
                if state.owns(&state.attempts[at]) {
                    state.jobs[state.attempts[at].job].running = 0;
                }
                if matches!(action, Action::Kill(_)) {
                    state.attempts.remove(at);
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a generation belongs to one job", |_, state: &State| {
                let had = |job: &Job| match job.outcome {
                    Some(Outcome::Has(number)) => Some(number),
                    _ => None,
                };
                let mut had: Vec<u8> = state.jobs.iter().filter_map(had).collect();
                let jobs = had.len();
                had.sort_unstable();
                had.dedup();
                had.len() == jobs
            }),
            Property::sometimes("a number is not used", |_, state: &State| {
                let of = |number: usize| {
                    state.jobs.iter().any(|job| {
                        matches!(job.outcome, Some(Outcome::Has(had)) if usize::from(had) == number)
                    })
                };
                let over = state.jobs.iter().all(|job| job.outcome.is_some());
                over && !of(1)
            }),
        ]
    }
}

impl Ends for Generations {
    fn is_over(&self, state: &State) -> bool {
        state.jobs.iter().all(|job| job.outcome.is_some())
    }
}
