//! Doorbells: a step becomes ready in one process, and workers in others are told so, or not.
//!
//! The database is the truth, a hint is a courtesy (`dispatch.rs`, `worker.rs`, ADR 0030). The committer
//! makes a step ready in a transaction and rings afterwards; the process may die between the two. A worker
//! listens first, looks into the store, waits for a ring, and looks by itself when it has waited long
//! enough (`Dispatcher::patience`): that look is what everything rests on. The models without patience show
//! what the rest is good for: it saves the wait, in the usual case.
//!
//! Left out: how long anything takes, and what becomes of the step once it is claimed, which is in
//! [`lease`](crate::lease). A worker that is busy is busy for good, because an encode takes hours.

use stateright::{Model, Property};

use crate::Ends;

/// The model, with its bounds.
#[derive(Debug, Clone)]
pub struct Doorbell {
    /// Workers with a free slot, each in a process of its own.
    pub idle: usize,
    /// Workers that have none.
    pub busy: usize,
    /// How many hints may get lost, and how many come twice.
    pub mishaps: u8,
    /// Whether the process may die between its commit and its ring.
    pub dies: bool,
    /// Whether workers look by themselves.
    pub patience: bool,
    /// Whom a ring reaches.
    pub reach: Reach,
    /// What is done.
    pub rule: Rule,
}

/// Whom a ring reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every process: notifications of Postgres.
    All,
    /// One process, whichever takes it from the queue: apalis on Redis.
    One,
}

/// What is done, or left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What telecine does.
    Sound,
    /// Workers are told before there is anything to see.
    RungFirst,
    /// A worker begins to listen after it has looked.
    LooksFirst,
    /// A process that took a hint and has nobody who waits keeps it to itself.
    NotPassedOn,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    step: Step,
    writer: Writer,
    workers: Vec<Worker>,
    /// Hints on their way to each process.
    sent: Vec<u8>,
    /// Hints in the queue that one process takes them from.
    queued: u8,
    mishaps: u8,
    claims: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Pending,
    Ready,
    Claimed,
}

/// The committer of the process in which the step becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    HasToCommit,
    HasToRing,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    phase: Phase,
    /// Whether what comes from now on is heard.
    listens: bool,
    /// Whether it rang since that was last asked.
    rang: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// About to look into the store.
    Looking,
    /// Found nothing.
    Looked,
    Waiting,
    /// It has no free slot.
    Busy,
    /// It has got the step.
    Claimed,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The step becomes ready: `Batch::commit`.
    Commit,
    /// `Writer::tell`, `Dispatcher::ring`.
    Ring,
    /// The process dies before it has rung.
    Die,
    /// A hint gets lost on its way to a process.
    Lose(usize),
    /// It comes once more.
    Double(usize),
    /// It arrives.
    Hear(usize),
    /// A process takes a hint from the queue, and passes it on to all if nobody waits there.
    Take(usize),
    /// A hint gets lost in the queue: Redis was flushed.
    Flush,
    /// `Worker::look`; claims what is there, in one transaction.
    Look(usize),
    /// The worker goes on from a look that found nothing.
    Wait(usize),
    /// `Bell::rung` resolves.
    Wake(usize),
    /// The worker has waited long enough.
    LosePatience(usize),
}

impl Worker {
    fn new(phase: Phase, listens: bool) -> Self {
        Self {
            phase,
            listens,
            rang: false,
        }
    }

    fn hear(&mut self) {
        self.rang |= self.listens;
    }
}

impl State {
    fn ring_all(&mut self) {
        for sent in &mut self.sent {
            *sent += 1;
        }
    }
}

impl Doorbell {
    fn ring(&self, state: &mut State) {
        match self.reach {
            Reach::All => state.ring_all(),
            Reach::One => state.queued += 1,
        }
    }

    fn take(&self, state: &mut State, at: usize) {
        state.queued -= 1;
        let waits = matches!(state.workers[at].phase, Phase::Waiting);
        if waits {
            state.workers[at].hear();
        } else if self.rule != Rule::NotPassedOn {
            state.ring_all();
        }
    }

    fn of_writer(&self, state: &State, actions: &mut Vec<Action>) {
        match state.writer {
            Writer::HasToCommit => actions.push(Action::Commit),
            Writer::HasToRing => actions.push(Action::Ring),
            Writer::Done => return,
        }
        let has_committed = state.step != Step::Pending;
        if self.dies && has_committed {
            actions.push(Action::Die);
        }
    }

    fn of_worker(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let worker = &state.workers[at];
        match worker.phase {
            Phase::Looking => actions.push(Action::Look(at)),
            Phase::Looked => actions.push(Action::Wait(at)),
            Phase::Waiting => {
                if worker.rang {
                    actions.push(Action::Wake(at));
                }
                if self.patience {
                    actions.push(Action::LosePatience(at));
                }
            }
            Phase::Busy | Phase::Claimed => {}
        }
        if state.sent[at] > 0 {
            actions.push(Action::Hear(at));
            if state.mishaps > 0 {
                actions.push(Action::Lose(at));
                actions.push(Action::Double(at));
            }
        }
        if state.queued > 0 {
            actions.push(Action::Take(at));
        }
    }
}

impl Model for Doorbell {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let listens = self.rule != Rule::LooksFirst;
        let idle = std::iter::repeat_n(Worker::new(Phase::Looking, listens), self.idle);
        let busy = std::iter::repeat_n(Worker::new(Phase::Busy, true), self.busy);
        let workers: Vec<Worker> = idle.chain(busy).collect();
        let writer = match self.rule {
            Rule::RungFirst => Writer::HasToRing,
            _ => Writer::HasToCommit,
        };
        vec![State {
            step: Step::Pending,
            writer,
            sent: vec![0; workers.len()],
            workers,
            queued: 0,
            mishaps: self.mishaps,
            claims: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.of_writer(state, actions);
        if state.queued > 0 && state.mishaps > 0 {
            actions.push(Action::Flush);
        }
        for at in 0..state.workers.len() {
            self.of_worker(state, at, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let rung_first = self.rule == Rule::RungFirst;
        match action {
            Action::Commit => {
                state.step = Step::Ready;
                state.writer = match rung_first {
                    true => Writer::Done,
                    false => Writer::HasToRing,
                };
            }
            Action::Ring => {
                self.ring(&mut state);
                state.writer = match rung_first {
                    true => Writer::HasToCommit,
                    false => Writer::Done,
                };
            }
            Action::Die => state.writer = Writer::Done,
            Action::Lose(at) => {
                state.mishaps -= 1;
                state.sent[at] -= 1;
            }
            Action::Double(at) => {
                state.mishaps -= 1;
                state.sent[at] += 1;
            }
            Action::Hear(at) => {
                state.sent[at] -= 1;
                state.workers[at].hear();
            }
            Action::Take(at) => self.take(&mut state, at),
            Action::Flush => {
                state.mishaps -= 1;
                state.queued -= 1;
            }
            Action::Look(at) => {
                state.workers[at].phase = Phase::Looked;
                if state.step == Step::Ready {
                    state.step = Step::Claimed;
                    state.claims += 1;
                    state.workers[at].phase = Phase::Claimed;
                }
            }
            Action::Wait(at) => {
                state.workers[at].phase = Phase::Waiting;
                state.workers[at].listens = true;
            }
            Action::Wake(at) => {
                state.workers[at].rang = false;
                state.workers[at].phase = Phase::Looking;
            }
            Action::LosePatience(at) => state.workers[at].phase = Phase::Looking,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a step is claimed once", |_, state: &State| {
                state.claims <= 1
            }),
            Property::sometimes("a worker wakes for nothing", |_, state: &State| {
                let waits = |worker: &Worker| worker.phase == Phase::Waiting && worker.rang;
                state.step == Step::Claimed && state.workers.iter().any(waits)
            }),
        ]
    }
}

impl Ends for Doorbell {
    fn is_over(&self, state: &State) -> bool {
        state.step == Step::Claimed
    }
}
