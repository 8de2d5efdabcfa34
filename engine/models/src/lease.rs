//! Sessions, leases and fences: one step, a few processes, one database.
//!
//! Time goes by in beats. A session that beats has a full lease again; one whose process stands still, is
//! dead or cannot reach the database comes one beat closer to its end. This is `worker/session.rs`,
//! `worker/contact.rs`, `services/contact.rs`, `services/sweeper.rs` and `other_sessions.sql` of Postgres with the
//! figures they have: a lease is three beats; nobody is ended because it is over by a process that has not been in contact for
//! three, nor before that but by one whose own connection was there when the other was closed.
//!
//! Processes of one machine need no lease for that: each holds a lock in the scratch directory for as long as it
//! lives, and whoever finds it free ends its session, whatever its lease says (`worker/scratch.rs`,
//! `worker/neighbours.rs`). Machines share the directory here and not its locks: to each, those of the others look
//! free.
//!
//! Left out: beats of different processes fall together; the step has one slot in each process; pauses end,
//! and the last process is never killed; no process goes on without its lock (its attempts would fail); nobody copies
//! the scratch directory, and on one machine a lock holds for everybody who finds it; what a machine removes of
//! another's besides its lock. The lock files of the embedded store are not those: they are there before the row is.

use stateright::{Model, Property};

use crate::Ends;

/// Beats that a lease lasts: `LEASE` is 7.5 s, `BEAT` 2.5 s.
const LEASE: u8 = 3;

/// The model, with its bounds.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Processes on the database: the first is there, the others begin some time.
    pub processes: usize,
    /// Machines that they begin on.
    pub machines: usize,
    /// How often a process is killed or stands still, or a machine starts anew.
    pub stops: u8,
    /// How often the database is away for a while.
    pub outages: u8,
    /// How many connections are cut that sessions were renewed on.
    pub cuts: u8,
    /// How many commits are made without their answer arriving.
    pub lost_answers: u8,
    /// Losses in a row that the step is forgiven; with one more it is held (`limits::LOSSES_IN_A_ROW`
    /// and `LOSSES_ALONE`).
    pub losses: u8,
    /// What is done.
    pub rule: Rule,
}

/// What is done, or left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What telecine does.
    Sound,
    /// A report is accepted from whoever sends it, as long as the step runs.
    FenceIgnored,
    /// A claim does not ask whether its session is still there (`Transaction::session_is_live`).
    SessionIgnored,
    /// A session goes first, and what it ran is released afterwards.
    ReleasedLater,
    /// Whether a session is dead is asked before the transaction that ends it, and not in it again
    /// (`Transaction::session_is_dead`).
    JudgedEarlier,
    /// A lease that ran out proves death, even if nobody could have renewed it (`Contact`).
    OutageIsDeath,
    /// A claim whose answer got lost is not looked for (`worker/held.rs`).
    DoubtIgnored,
    /// A closed connection proves death, also before a beat was missed.
    ClosedIsDead,
    /// One that was closed after the last beat does, whatever became of the judge's own.
    OwnConnectionIgnored,
    /// A free lock proves death wherever it was held (`scratch::boot`).
    BootIgnored,
    /// A lock says where it is held before it is taken (`Room::hold`).
    WrittenFirst,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    step: Step,
    processes: Vec<Process>,
    /// How often each machine has started anew.
    starts: Vec<u8>,
    /// Whether nobody reaches the database.
    away: bool,
    /// What may still go wrong.
    stops: u8,
    outages: u8,
    cuts: u8,
    lost_answers: u8,
    wrong: Wrong,
}

/// The row of the step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Step {
    status: Status,
    /// Grows with each claim.
    fence: u8,
    losses: u8,
    /// Reports of success that were accepted.
    completions: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Ready,
    /// Under this session.
    Running(SessionId),
    Succeeded,
    /// Waits for a person.
    Held,
}

/// A process, and which of its sessions, from 0.
type SessionId = (usize, u8);

/// A machine, and which of its starts, from 0: the kernel's boot id.
type Boot = (usize, u8);

/// A process, and what the database holds of its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    phase: Phase,
    /// Where it is.
    boot: Boot,
    lock: Lock,
    /// The process whose lock it has found free, and holds until it has ended its session (`scratch::Dead`).
    found: Option<usize>,
    /// Its session, as far as it knows.
    session: u8,
    /// Whether the database has that session.
    row: bool,
    /// Beats until the lease ends.
    lease: u8,
    /// Beats for which the database has been in reach without a break.
    contact: u8,
    /// Beats since the connection was made that the session was renewed on last; nothing once the server
    /// has closed it.
    connection: Option<u8>,
    /// Whether it has stood still since its session began.
    stood_still: bool,
    /// Fence of the attempt that it runs.
    attempt: Option<u8>,
    /// Fence of the attempt whose success it has to report.
    report: Option<u8>,
    /// Whether a claim of it may have been made that it does not know of.
    doubt: bool,
    /// The process that it has judged dead ([`Rule::JudgedEarlier`]).
    judged: Option<usize>,
    /// The session whose steps it still has to release ([`Rule::ReleasedLater`]).
    releasing: Option<SessionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// It has yet to begin.
    Absent,
    Up,
    /// It stands still, with everything it has in hand.
    Paused,
    Dead,
}

/// The lock of a session in the scratch directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lock {
    /// Its file is there and empty. Nobody holds it: whoever looks removes it, and it is made anew.
    Made,
    /// It is held for as long as its process lives, and its file says where.
    Taken,
    /// It is held as long, and its file is not there any more.
    Removed,
}

/// What must never happen, once it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Wrong {
    stale_write: bool,
    ended_alive: bool,
    ended_in_time: bool,
    outage_cost: bool,
    buried_alive: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes: `Beat::renew` renews the lease, or finds the session gone and a new one is opened
    /// (`WorkerError::LeaseLost`).
    Tick,
    /// `machine::claim` in a transaction of the committer.
    Claim(usize),
    /// The same, and the answer gets lost.
    ClaimUnanswered(usize),
    /// `worker/held.rs` compares what the session runs with what the worker holds, and gives the rest back.
    GiveBack(usize),
    /// The activity is done; its attempt has something to report.
    Finish(usize),
    /// `machine::complete` in a transaction; refused ones are dropped (`worker/outage.rs`, `report`).
    Report(usize),
    /// The same, and the answer gets lost: it is sent again.
    ReportUnanswered(usize),
    /// SIGSTOP, a page fault that takes a minute, a virtual machine that is moved.
    Pause(usize),
    /// And its end.
    Resume(usize),
    /// SIGKILL: the kernel closes its connection and releases its lock.
    Kill(usize),
    /// A machine loses its power and starts anew, with another boot id: locks are released, connections not closed.
    Reboot(usize),
    /// The process begins on that machine: `Session::open`.
    Begin(usize, usize),
    /// It takes its lock: `Room::hold`.
    Lock(usize),
    /// The first process takes the lock of the second, which seems to be free: `scratch::dead`. One that proves
    /// nothing it removes.
    Find(usize, usize),
    /// It ends the session of that lock, and then removes it; while the database is away, it lets go of it
    /// (`Neighbours::bury`).
    Bury(usize),
    /// The server or the network closes the connection of a session: the next beat makes another.
    Cut(usize),
    /// The database goes away, and with it all connections.
    Outage,
    /// And comes back.
    Recover,
    /// The first process finds the session of the second dead and ends it: `Chore::EndSession`.
    End(usize, usize),
    /// It finds it dead and will end it ([`Rule::JudgedEarlier`]).
    Judge(usize, usize),
    /// It releases what the session ran that it has ended ([`Rule::ReleasedLater`]).
    Release(usize),
}

impl Process {
    fn absent() -> Self {
        Self {
            phase: Phase::Absent,
            row: false,
            connection: None,
            ..Self::on((0, 0))
        }
    }

    /// One that begins there.
    fn on(boot: Boot) -> Self {
        Self {
            phase: Phase::Up,
            boot,
            lock: Lock::Made,
            found: None,
            session: 0,
            row: true,
            lease: LEASE,
            contact: 0,
            connection: Some(0),
            stood_still: false,
            attempt: None,
            report: None,
            doubt: false,
            judged: None,
            releasing: None,
        }
    }

    /// One beat later.
    fn tick(&mut self, away: bool) {
        if self.phase == Phase::Absent {
            return;
        }
        let reaches = self.phase == Phase::Up && !away;
        self.connection = self.connection.map(|beats| LEASE.min(beats + 1));
        if !reaches {
            self.lease = self.lease.saturating_sub(1);
            self.contact = 0;
        } else if self.row {
            self.lease = LEASE;
            self.contact = LEASE.min(self.contact + 1);
            self.connection = self.connection.or(Some(0));
        } else {
            self.begin_session();
        }
    }

    /// Its session was ended: its attempts are stopped, but what they have reported is on its way.
    fn begin_session(&mut self) {
        *self = Self {
            session: self.session + 1,
            report: self.report,
            ..Self::on(self.boot)
        };
    }

    /// What is left of it, to others.
    fn die(&mut self) {
        *self = Self {
            phase: Phase::Dead,
            lock: self.lock,
            session: self.session,
            row: self.row,
            lease: self.lease,
            connection: self.connection,
            ..Self::on(self.boot)
        };
    }

    fn lives(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Paused)
    }

    fn is_idle(&self) -> bool {
        self.attempt.is_none() && self.report.is_none() && !self.doubt
    }
}

impl State {
    fn is_dead(&self, process: usize) -> bool {
        self.processes[process].row && self.processes[process].lease == 0
    }

    /// Whether the connection of a session is closed, says the first process.
    fn is_gone(&self, (at, other): (usize, usize), rule: Rule) -> bool {
        let session = &self.processes[other];
        let missed = LEASE - session.lease;
        let mine = self.processes[at].connection;
        session.row
            && session.connection.is_none()
            && match rule {
                Rule::ClosedIsDead => true,
                Rule::OwnConnectionIgnored => missed > 0,
                _ => missed > 0 && mine.is_some_and(|beats| beats > missed),
            }
    }

    /// Whether a lock can be taken, says the first process: others of its machine may have it.
    fn is_free(&self, (at, other): (usize, usize)) -> bool {
        let (machine, _) = self.processes[at].boot;
        let here = |process: &&Process| process.boot.0 == machine;
        let owner = &self.processes[other];
        let is_held = owner.lives() && owner.lock != Lock::Made && here(&owner);
        let mut others = self.processes.iter().filter(here);
        !is_held && others.all(|process| process.found != Some(other))
    }

    /// Whether a free lock proves that its process is gone, says the first process.
    fn is_proof(&self, (at, other): (usize, usize), rule: Rule) -> bool {
        let owner = &self.processes[other];
        let says_where = match owner.lock {
            Lock::Made => rule == Rule::WrittenFirst,
            Lock::Taken => true,
            Lock::Removed => false,
        };
        says_where && (self.processes[at].boot == owner.boot || rule == Rule::BootIgnored)
    }

    fn find(&mut self, (at, other): (usize, usize), rule: Rule) {
        match self.is_proof((at, other), rule) {
            true => self.processes[at].found = Some(other),
            false => self.processes[other].lock = Lock::Removed,
        }
    }

    fn reboot(&mut self, machine: usize) {
        self.stops -= 1;
        self.starts[machine] += 1;
        let processes = self.processes.iter_mut();
        let there = processes.filter(|process| process.lives() && process.boot.0 == machine);
        there.for_each(Process::die);
    }

    fn tick(&mut self) {
        let away = self.away;
        let processes = self.processes.iter_mut();
        processes.for_each(|process| process.tick(away));
    }

    fn go_away(&mut self) {
        self.outages -= 1;
        self.away = true;
        let processes = self.processes.iter_mut();
        processes.for_each(|process| process.connection = None);
    }

    fn can_write(&self, process: usize) -> bool {
        self.processes[process].phase == Phase::Up && !self.away
    }

    fn claim(&mut self, process: usize) {
        let owner = (process, self.processes[process].session);
        self.step.status = Status::Running(owner);
        self.step.fence += 1;
    }

    fn give_back(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.doubt = false;
        if self.step.status == Status::Running((at, process.session)) {
            self.step.status = Status::Ready;
        }
    }

    /// The attempt of that fence has succeeded, says whoever sends it.
    fn complete(&mut self, fence: u8, rule: Rule) {
        let running = matches!(self.step.status, Status::Running(_));
        if running && (self.step.fence == fence || rule == Rule::FenceIgnored) {
            self.wrong.stale_write |= self.step.fence != fence;
            self.step.status = Status::Succeeded;
            self.step.completions += 1;
        }
    }

    /// Removes the row of a session.
    fn end_session(&mut self, process: usize) {
        let ended = &mut self.processes[process];
        self.wrong.ended_alive |= ended.lease > 0 && ended.connection.is_some();
        self.wrong.ended_in_time |=
            ended.phase == Phase::Up && !ended.stood_still && ended.lease == LEASE;
        self.wrong.outage_cost |= ended.phase == Phase::Up && !ended.stood_still;
        ended.row = false;
    }

    /// `machine::lose`, if the step runs under that session.
    fn lose(&mut self, session: SessionId, forgiven: u8) {
        if self.step.status == Status::Running(session) {
            self.step.losses += 1;
            self.step.status = match self.step.losses > forgiven {
                true => Status::Held,
                false => Status::Ready,
            };
        }
    }
}

impl Lease {
    /// What a process that is up and reaches the database can do there.
    fn writes(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[at];
        let is_live = process.row && process.lease > 0;
        let may_claim = is_live || self.rule == Rule::SessionIgnored;
        let may_claim = may_claim && process.lock != Lock::Made;
        if state.step.status == Status::Ready && process.is_idle() && may_claim {
            actions.push(Action::Claim(at));
            if state.lost_answers > 0 {
                actions.push(Action::ClaimUnanswered(at));
            }
        }
        if process.doubt && self.rule != Rule::DoubtIgnored {
            actions.push(Action::GiveBack(at));
        }
        if process.report.is_some() {
            actions.push(Action::Report(at));
            if state.lost_answers > 0 {
                actions.push(Action::ReportUnanswered(at));
            }
        }
        if process.releasing.is_some() {
            actions.push(Action::Release(at));
        }
        for other in (0..self.processes).filter(|other| *other != at) {
            self.sweeps(state, (at, other), actions);
        }
    }

    fn sweeps(&self, state: &State, (at, other): (usize, usize), actions: &mut Vec<Action>) {
        let process = &state.processes[at];
        let trusts = process.contact == LEASE || self.rule == Rule::OutageIsDeath;
        let is_dead = state.is_dead(other) && trusts || state.is_gone((at, other), self.rule);
        let is_dead = is_dead && process.releasing.is_none();
        match self.rule {
            Rule::JudgedEarlier => {
                if is_dead && process.judged.is_none() {
                    actions.push(Action::Judge(at, other));
                }
                if process.judged == Some(other) {
                    actions.push(Action::End(at, other));
                }
            }
            _ if is_dead => actions.push(Action::End(at, other)),
            _ => {}
        }
    }

    /// What a process that is up does in the scratch directory.
    fn looks(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let process = &state.processes[at];
        if process.lock == Lock::Made {
            actions.push(Action::Lock(at));
        }
        if process.found.is_some() && process.releasing.is_none() {
            actions.push(Action::Bury(at));
        }
        for other in (0..self.processes).filter(|other| *other != at) {
            let is_there = state.processes[other].phase != Phase::Absent;
            let tells = state.processes[other].lock == Lock::Taken
                || state.is_proof((at, other), self.rule);
            if process.found.is_none() && is_there && tells && state.is_free((at, other)) {
                actions.push(Action::Find(at, other));
            }
        }
    }

    fn reboots(&self, state: &State, machine: usize, actions: &mut Vec<Action>) {
        let is_there = |process: &&Process| process.lives() && process.boot.0 == machine;
        let mut there = state.processes.iter().filter(is_there);
        let mut processes = state.processes.iter();
        let stays = |it: &Process| it.phase != Phase::Dead && !is_there(&it);
        if state.stops > 0 && there.next().is_some() && processes.any(stays) {
            actions.push(Action::Reboot(machine));
        }
    }

    fn troubles(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let others = (0..self.processes).filter(|other| *other != at);
        let mut others = others.map(|other| state.processes[other].phase);
        match state.processes[at].phase {
            Phase::Up if state.stops > 0 => {
                actions.push(Action::Pause(at));
                if others.any(|phase| phase != Phase::Dead) {
                    actions.push(Action::Kill(at));
                }
            }
            Phase::Paused => actions.push(Action::Resume(at)),
            Phase::Absent => {
                let machines = 0..self.machines;
                actions.extend(machines.map(|machine| Action::Begin(at, machine)));
            }
            _ => {}
        }
        if state.cuts > 0 && state.processes[at].connection.is_some() {
            actions.push(Action::Cut(at));
        }
    }

    fn end(&self, state: &mut State, (at, other): (usize, usize)) {
        state.processes[at].judged = None;
        if !state.processes[other].row {
            return;
        }
        let session = (other, state.processes[other].session);
        state.end_session(other);
        match self.rule {
            Rule::ReleasedLater => state.processes[at].releasing = Some(session),
            _ => state.lose(session, self.losses),
        }
    }

    fn bury(&self, state: &mut State, at: usize) {
        let found = state.processes[at].found.take();
        if let Some(other) = found
            && !state.away
        {
            let buried = &mut state.processes[other];
            buried.lock = Lock::Removed;
            state.wrong.buried_alive |= buried.row && buried.lives();
            self.end(state, (at, other));
        }
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut processes = vec![Process::absent(); self.processes];
        processes[0] = Process::on((0, 0));
        vec![State {
            step: Step {
                status: Status::Ready,
                fence: 0,
                losses: 0,
                completions: 0,
            },
            processes,
            starts: vec![0; self.machines],
            away: false,
            stops: self.stops,
            outages: self.outages,
            cuts: self.cuts,
            lost_answers: self.lost_answers,
            wrong: Wrong::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        match state.away {
            true => actions.push(Action::Recover),
            false if state.outages > 0 => actions.push(Action::Outage),
            false => {}
        }
        for at in 0..self.processes {
            if state.can_write(at) {
                self.writes(state, at, actions);
            }
            let process = &state.processes[at];
            if process.phase == Phase::Up && process.attempt.is_some() {
                actions.push(Action::Finish(at));
            }
            if process.phase == Phase::Up {
                self.looks(state, at, actions);
            }
            self.troubles(state, at, actions);
        }
        for machine in 0..self.machines {
            self.reboots(state, machine, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.tick(),
            Action::Claim(at) => {
                state.claim(at);
                state.processes[at].attempt = Some(state.step.fence);
            }
            Action::ClaimUnanswered(at) => {
                state.claim(at);
                state.lost_answers -= 1;
                state.processes[at].doubt = true;
            }
            Action::GiveBack(at) => state.give_back(at),
            Action::Finish(at) => {
                let process = &mut state.processes[at];
                process.report = process.attempt.take();
            }
            Action::Report(at) => {
                let fence = state.processes[at].report.take()?;
                state.complete(fence, self.rule);
            }
            Action::ReportUnanswered(at) => {
                state.lost_answers -= 1;
                state.complete(state.processes[at].report?, self.rule);
            }
            Action::Pause(at) => {
                state.stops -= 1;
                state.processes[at].phase = Phase::Paused;
                state.processes[at].stood_still = true;
            }
            Action::Resume(at) => state.processes[at].phase = Phase::Up,
            Action::Kill(at) => {
                state.stops -= 1;
                state.processes[at].die();
                state.processes[at].connection = None;
            }
            Action::Reboot(machine) => state.reboot(machine),
            Action::Begin(at, machine) => {
                state.processes[at] = Process::on((machine, state.starts[machine]));
            }
            Action::Lock(at) => state.processes[at].lock = Lock::Taken,
            Action::Find(at, other) => state.find((at, other), self.rule),
            Action::Bury(at) => self.bury(&mut state, at),
            Action::Cut(at) => {
                state.cuts -= 1;
                state.processes[at].connection = None;
            }
            Action::Outage => state.go_away(),
            Action::Recover => state.away = false,
            Action::End(at, other) => self.end(&mut state, (at, other)),
            Action::Judge(at, other) => state.processes[at].judged = Some(other),
            Action::Release(at) => {
                let session = state.processes[at].releasing.take()?;
                state.lose(session, self.losses);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a step succeeds once", |_, state: &State| {
                state.step.completions <= 1
            }),
            Property::always("an older attempt changes nothing", |_, state: &State| {
                !state.wrong.stale_write
            }),
            Property::always(
                "a session with a lease and a connection is not ended",
                |_, state: &State| !state.wrong.ended_alive,
            ),
            Property::always(
                "a process that beats in time is not ended",
                |_, state: &State| !state.wrong.ended_in_time,
            ),
            Property::always("an outage costs nobody a session", |_, state: &State| {
                !state.wrong.outage_cost
            }),
            Property::always("nobody is buried alive", |_, state: &State| {
                !state.wrong.buried_alive
            }),
            Property::always(
                "a running step belongs to a session that is there",
                |_, state: &State| match state.step.status {
                    Status::Running((process, session)) => {
                        let process = &state.processes[process];
                        process.row && process.session == session
                    }
                    _ => true,
                },
            ),
            // Otherwise fences would have nothing to do here.
            Property::sometimes("two processes run the step", |_, state: &State| {
                let busy =
                    |process: &&Process| process.attempt.is_some() || process.report.is_some();
                state.processes.iter().filter(busy).count() > 1
            }),
            Property::sometimes("a killed process is ended early", |_, state: &State| {
                let early = |it: &Process| it.phase == Phase::Dead && !it.row && it.lease > 0;
                state.processes.iter().any(early)
            }),
            Property::sometimes(
                "a killed process is ended before it misses a beat",
                |_, state: &State| {
                    let at_once =
                        |it: &Process| it.phase == Phase::Dead && !it.row && it.lease == LEASE;
                    state.processes.iter().any(at_once)
                },
            ),
            Property::sometimes("a step is held", |_, state: &State| {
                state.step.status == Status::Held
            }),
        ]
    }
}

impl Ends for Lease {
    fn is_over(&self, state: &State) -> bool {
        matches!(state.step.status, Status::Succeeded | Status::Held)
    }
}
