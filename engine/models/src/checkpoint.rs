//! Checkpoints: one step that makes a list of segments, by as many attempts as it takes.
//!
//! An attempt stores a segment as an object of its own name, waits until that is durable, and then records
//! it with a checkpoint (`activity/context.rs`, `worker/port.rs`). Any attempt may be killed between any
//! two actions, or be given up and go on regardless: its objects get stored, its records are refused by
//! the fence.
//!
//! Left out: that a checkpoint names several renditions, what it covers, and its compatibility hash. An
//! object is written whole or not at all, which the conformance suite of the object stores checks.

use std::collections::BTreeMap;

use stateright::{Model, Property};

use crate::Ends;

/// The model, with its bounds.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// Segments that the step has to make.
    pub segments: u8,
    /// How often an attempt is killed or given up.
    pub losses: u8,
    /// How many commits are made without their answer arriving.
    pub lost_answers: u8,
    /// What is done.
    pub rule: Rule,
}

/// What is done, or left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What telecine does.
    Sound,
    /// A checkpoint is saved whoever sends it.
    FenceIgnored,
    /// A segment is recorded before it is stored.
    RecordedFirst,
    /// Attempts give the same names to their objects.
    SharedNames,
    /// What a checkpoint adds is added to whatever is there (`Content::Grown` without its `from`).
    GrowthUnchecked,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    step: Step,
    /// Who wrote what is stored under each name.
    objects: BTreeMap<Name, u8>,
    /// Attempts that are at work, whether or not the step is theirs.
    attempts: Vec<Attempt>,
    losses: u8,
    lost_answers: u8,
    /// Whether a checkpoint held less than the one before.
    shrunk: bool,
}

/// The row of the step, and its latest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Step {
    status: Status,
    fence: u8,
    /// Number of the latest checkpoint, from 1.
    seq: u8,
    checkpoint: Vec<Recorded>,
    /// What it returned.
    output: Vec<Recorded>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Ready,
    Running,
    Succeeded,
}

/// Segment, and the attempt whose name is in it: `seg_00012_{8 hex}.m4s`.
type Name = (u8, u8);

/// An object as a checkpoint names it: its digest stands for who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Recorded {
    name: Name,
    digest: u8,
}

/// What an attempt has in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    fence: u8,
    /// Number of the latest checkpoint, as long as that is known for certain (`Latest`).
    latest: Option<u8>,
    /// How much of its list that checkpoint holds.
    saved: usize,
    /// What it has made, with what it went on from.
    made: Vec<Recorded>,
    /// Whether the last of them is stored.
    stored: bool,
}

/// What can happen, to the attempt of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker claims the step and begins with its latest checkpoint: `machine::claim`, `usable`.
    Claim,
    /// A segment is encoded; it is nowhere but in the worker.
    Encode(usize),
    /// It is stored: `ObjectStore::put_file`.
    Store(usize),
    /// `Store::save_checkpoint`, fenced.
    Record(usize),
    /// The same, and the answer gets lost: the attempt does not know which checkpoint is the latest.
    RecordUnanswered(usize),
    /// `machine::complete`, fenced.
    Complete(usize),
    /// The attempt is killed with its process, and the step given back.
    Kill(usize),
    /// The attempt stands still past its lease: the step is given back, and the attempt goes on later.
    GiveUp(usize),
}

impl Attempt {
    /// Of what it made, what no checkpoint that it knows of has.
    fn is_unsaved(&self) -> bool {
        self.saved < self.made.len() || self.latest.is_none() && !self.made.is_empty()
    }
}

impl State {
    fn owns(&self, attempt: &Attempt) -> bool {
        self.step.status == Status::Running && self.step.fence == attempt.fence
    }

    fn holds(&self, recorded: &Recorded) -> bool {
        self.objects.get(&recorded.name) == Some(&recorded.digest)
    }

    /// Saves a checkpoint of an attempt; answers its number unless it is refused.
    fn save(&mut self, at: usize, rule: Rule) -> Option<u8> {
        let attempt = &self.attempts[at];
        if !self.owns(attempt) && rule != Rule::FenceIgnored {
            return None;
        }
        let checkpoint = match attempt.latest {
            None => attempt.made.clone(),
            // It says what is new since a checkpoint that is not the latest.
            Some(from) if from != self.step.seq && rule != Rule::GrowthUnchecked => return None,
            Some(_) => {
                let new = attempt.made[attempt.saved..].iter();
                self.step.checkpoint.iter().chain(new).cloned().collect()
            }
        };
        self.shrunk |= checkpoint.len() < self.step.checkpoint.len();
        self.step.checkpoint = checkpoint;
        self.step.seq += 1;
        Some(self.step.seq)
    }

    fn give_back(&mut self, at: usize) {
        self.losses -= 1;
        if self.owns(&self.attempts[at]) {
            self.step.status = Status::Ready;
        }
    }

    fn claim(&mut self) {
        self.step.status = Status::Running;
        self.step.fence += 1;
        let made = self.step.checkpoint.clone();
        self.attempts.push(Attempt {
            fence: self.step.fence,
            latest: (self.step.seq > 0).then_some(self.step.seq),
            saved: made.len(),
            made,
            stored: true,
        });
    }

    /// An attempt learns what became of its checkpoint: its number, or that the step is not its own.
    fn learn(&mut self, at: usize, seq: Option<u8>) {
        match seq {
            Some(seq) => {
                let attempt = &mut self.attempts[at];
                attempt.latest = Some(seq);
                attempt.saved = attempt.made.len();
            }
            None => drop(self.attempts.remove(at)),
        }
    }
}

impl Checkpoints {
    fn of_attempt(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let attempt = &state.attempts[at];
        let complete = attempt.made.len() >= usize::from(self.segments);
        let recordable = attempt.stored || self.rule == Rule::RecordedFirst;
        let settled = attempt.stored && !attempt.is_unsaved();
        if attempt.is_unsaved() && recordable {
            actions.push(Action::Record(at));
            if state.lost_answers > 0 && state.owns(attempt) {
                actions.push(Action::RecordUnanswered(at));
            }
        }
        match attempt.stored {
            false if self.rule == Rule::RecordedFirst && attempt.is_unsaved() => {}
            false => actions.push(Action::Store(at)),
            true if !complete && settled => actions.push(Action::Encode(at)),
            true if complete && settled => actions.push(Action::Complete(at)),
            true => {}
        }
        if state.losses > 0 {
            actions.push(Action::Kill(at));
            if state.owns(attempt) {
                actions.push(Action::GiveUp(at));
            }
        }
    }

    fn encode(&self, attempt: &mut Attempt) {
        let segment = u8::try_from(attempt.made.len()).unwrap_or(u8::MAX);
        let tag = match self.rule {
            Rule::SharedNames => 0,
            _ => attempt.fence,
        };
        attempt.made.push(Recorded {
            name: (segment, tag),
            digest: attempt.fence,
        });
        attempt.stored = false;
    }
}

impl Model for Checkpoints {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            step: Step {
                status: Status::Ready,
                fence: 0,
                seq: 0,
                checkpoint: Vec::new(),
                output: Vec::new(),
            },
            objects: BTreeMap::new(),
            attempts: Vec::new(),
            losses: self.losses,
            lost_answers: self.lost_answers,
            shrunk: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.step.status == Status::Ready {
            actions.push(Action::Claim);
        }
        for at in 0..state.attempts.len() {
            self.of_attempt(state, at, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim => state.claim(),
            Action::Encode(at) => self.encode(&mut state.attempts[at]),
            Action::Store(at) => {
                let attempt = &mut state.attempts[at];
                let new = attempt.made.last()?.clone();
                attempt.stored = true;
                state.objects.insert(new.name, new.digest);
            }
            Action::Record(at) => {
                let saved = state.save(at, self.rule);
                state.learn(at, saved);
            }
            Action::RecordUnanswered(at) => {
                state.lost_answers -= 1;
                state.save(at, self.rule)?;
                if self.rule != Rule::GrowthUnchecked {
                    state.attempts[at].latest = None;
                }
            }
            Action::Complete(at) => {
                let attempt = state.attempts.remove(at);
                if state.owns(&attempt) || self.rule == Rule::FenceIgnored {
                    state.step.status = Status::Succeeded;
                    state.step.output = attempt.made;
                }
            }
            Action::Kill(at) => {
                state.give_back(at);
                state.attempts.remove(at);
            }
            Action::GiveUp(at) => state.give_back(at),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is recorded is there", |_, state: &State| {
                let recorded = state.step.checkpoint.iter().chain(&state.step.output);
                recorded.into_iter().all(|recorded| state.holds(recorded))
            }),
            Property::always("every segment is recorded once", |_, state: &State| {
                let in_order = |list: &[Recorded]| {
                    let segments = list.iter().map(|recorded| usize::from(recorded.name.0));
                    segments.eq(0..list.len())
                };
                in_order(&state.step.checkpoint) && in_order(&state.step.output)
            }),
            Property::always(
                "nothing that was recorded is made again",
                |_, state: &State| !state.shrunk,
            ),
            Property::sometimes(
                "an attempt goes on from another one's work",
                |_, state: &State| {
                    let of_others = |attempt: &Attempt| {
                        attempt.made.iter().any(|made| made.digest != attempt.fence)
                    };
                    state.attempts.iter().any(of_others)
                },
            ),
            Property::sometimes(
                "an object is left that nothing names",
                |_, state: &State| {
                    let named = |name: &Name| state.step.output.iter().any(|it| it.name == *name);
                    let succeeded = state.step.status == Status::Succeeded;
                    succeeded && !state.objects.keys().all(named)
                },
            ),
        ]
    }
}

impl Ends for Checkpoints {
    fn is_over(&self, state: &State) -> bool {
        state.step.status == Status::Succeeded
    }
}
