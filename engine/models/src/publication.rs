//! Publication: jobs over one medium, each with a set of its own in a generation of its own, and readers
//! who follow the row in the database or the copies at the root of the medium's directory.
//!
//! This is `media.publish` (`activities/src/publish.rs`, `publish/root.rs`, ADR 0009). The row is moved by a
//! fenced write. The copies are not: a process may stand still between looking at the row and copying what
//! it saw, for any length of time.
//!
//! Left out: what makes the set, but for its order, and the sprites' index, which goes like the cover. How
//! generations are numbered is in [`generation`](crate::generation).

use stateright::{Model, Property};

use crate::Ends;

/// The model, with its bounds.
#[derive(Debug, Clone)]
pub struct Publications {
    /// Jobs over the medium; the generation of the first is 1.
    pub jobs: usize,
    /// How often an attempt stands still past its lease, and goes on later.
    pub given_up: u8,
    /// How often an attempt is killed.
    pub kills: u8,
    /// How often a job is cancelled.
    pub cancels: u8,
    /// Whether also those are killed whose step is somebody else's by then.
    pub kills_strays: bool,
    /// What is done.
    pub rule: Rule,
}

/// What is done, or left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What telecine does.
    Sound,
    /// The set is published before it is made.
    PublishedFirst,
    /// The copy of the playlist is made before that of the cover.
    PlaylistFirst,
    /// The row takes the generation of whoever comes last.
    LastWins,
    /// Who has copied does not look at the row again.
    CopiedBlindly,
    /// Who has copied looks again by a fenced write only: one whose step is not its own any more leaves
    /// things as they are.
    OwnersLook,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// By generation.
    sets: Vec<Set>,
    /// The generation in the row; 0 if there is none.
    row: u8,
    root: Root,
    jobs: Vec<Job>,
    attempts: Vec<Attempt>,
    given_up: u8,
    kills: u8,
    cancels: u8,
    /// Whether readers of the row were sent back to an older set.
    went_back: bool,
}

/// What a generation holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Set {
    segments: bool,
    playlist: bool,
}

/// Of which generation the copies at the root are; 0 if there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Root {
    cover: u8,
    playlist: u8,
}

/// The row of the step that publishes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Job {
    status: Status,
    fence: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Ready,
    Running,
    /// Succeeded, or cancelled.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    job: usize,
    fence: u8,
    next: Stage,
}

/// What an attempt does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Stores the segments.
    Segments,
    /// Stores the playlist: `video.package_hls`.
    Playlist,
    /// Moves the row forward: `Store::publish`, fenced.
    Row,
    /// Copies the cover of that generation to the root.
    CopyCover(u8),
    /// Copies its playlist.
    CopyPlaylist(u8),
    /// Looks whether the row still names that generation: `publish::root::show`.
    Look(u8),
    /// Reports success, fenced.
    Report,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker claims the step of a job.
    Claim(usize),
    /// The attempt of that place goes on.
    Go(usize, Stage),
    /// It stands still past its lease: others claim the step, and it goes on when it likes.
    GiveUp(usize),
    /// It is killed, and the step claimed by others.
    Kill(usize),
    /// Somebody cancels the job.
    Cancel(usize),
}

fn generation(job: usize) -> u8 {
    u8::try_from(job + 1).unwrap_or(u8::MAX)
}

impl State {
    fn is_whole(&self, generation: u8) -> bool {
        let set = &self.sets[usize::from(generation) - 1];
        set.segments && set.playlist
    }

    fn owns(&self, attempt: &Attempt) -> bool {
        let job = &self.jobs[attempt.job];
        job.status == Status::Running && job.fence == attempt.fence
    }

    /// The step can be claimed again, if it is the attempt's.
    fn give_back(&mut self, at: usize) {
        if self.owns(&self.attempts[at]) {
            self.jobs[self.attempts[at].job].status = Status::Ready;
        }
    }
}

impl Publications {
    fn first(&self, state: &State, job: usize) -> Stage {
        match self.rule {
            Rule::PublishedFirst => Stage::Row,
            // What earlier steps have made is not made again.
            _ if state.is_whole(generation(job)) => Stage::Row,
            _ => Stage::Segments,
        }
    }

    /// What follows once the row names that generation.
    fn show(&self, current: u8) -> Stage {
        match self.rule {
            Rule::PlaylistFirst => Stage::CopyPlaylist(current),
            _ => Stage::CopyCover(current),
        }
    }

    /// One stage of an attempt; answers the next, or nothing if the attempt is over.
    fn go(&self, state: &mut State, attempt: &Attempt) -> Option<Stage> {
        let own = generation(attempt.job);
        let set = &mut state.sets[attempt.job];
        match attempt.next {
            Stage::Segments => {
                set.segments = true;
                Some(Stage::Playlist)
            }
            Stage::Playlist => {
                set.playlist = true;
                Some(match self.rule {
                    Rule::PublishedFirst => Stage::Report,
                    _ => Stage::Row,
                })
            }
            Stage::Row => {
                if !state.owns(attempt) {
                    return None;
                }
                let row = match self.rule {
                    Rule::LastWins => own,
                    _ => state.row.max(own),
                };
                state.went_back |= row < state.row;
                state.row = row;
                Some(self.show(row))
            }
            Stage::CopyCover(shown) => {
                state.root.cover = shown;
                Some(match self.rule {
                    Rule::PlaylistFirst => Stage::Look(shown),
                    _ => Stage::CopyPlaylist(shown),
                })
            }
            Stage::CopyPlaylist(shown) => {
                state.root.playlist = shown;
                Some(match self.rule {
                    Rule::PublishedFirst => Stage::Segments,
                    Rule::PlaylistFirst => Stage::CopyCover(shown),
                    Rule::CopiedBlindly => Stage::Report,
                    _ => Stage::Look(shown),
                })
            }
            Stage::Look(shown) => match state.owns(attempt) {
                false if self.rule == Rule::OwnersLook => None,
                false if state.row == shown => None,
                true if state.row == shown => Some(Stage::Report),
                _ => Some(self.show(state.row)),
            },
            Stage::Report => {
                if state.owns(attempt) {
                    state.jobs[attempt.job].status = Status::Over;
                }
                None
            }
        }
    }
}

impl Model for Publications {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let job = Job {
            status: Status::Ready,
            fence: 0,
        };
        vec![State {
            sets: vec![Set::default(); self.jobs],
            row: 0,
            root: Root::default(),
            jobs: vec![job; self.jobs],
            attempts: Vec::new(),
            given_up: self.given_up,
            kills: self.kills,
            cancels: self.cancels,
            went_back: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, job) in state.jobs.iter().enumerate() {
            match job.status {
                Status::Ready => actions.push(Action::Claim(at)),
                Status::Running if state.cancels > 0 => actions.push(Action::Cancel(at)),
                _ => {}
            }
        }
        for (at, attempt) in state.attempts.iter().enumerate() {
            actions.push(Action::Go(at, attempt.next));
            let owns = state.owns(attempt);
            if owns && state.given_up > 0 {
                actions.push(Action::GiveUp(at));
            }
            if state.kills > 0 && (owns || self.kills_strays) {
                actions.push(Action::Kill(at));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim(at) => {
                let job = &mut state.jobs[at];
                job.status = Status::Running;
                job.fence += 1;
                let fence = job.fence;
                let next = self.first(&state, at);
                state.attempts.push(Attempt {
                    job: at,
                    fence,
                    next,
                });
            }
            Action::Go(at, _) => {
                let attempt = state.attempts[at].clone();
                match self.go(&mut state, &attempt) {
                    Some(next) => state.attempts[at].next = next,
                    None => drop(state.attempts.remove(at)),
                }
            }
            Action::GiveUp(at) => {
                state.given_up -= 1;
                state.give_back(at);
            }
            Action::Kill(at) => {
                state.kills -= 1;
                state.give_back(at);
                state.attempts.remove(at);
            }
            Action::Cancel(at) => {
                state.cancels -= 1;
                state.jobs[at].status = Status::Over;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what the row names is whole", |_, state: &State| {
                state.row == 0 || state.is_whole(state.row)
            }),
            Property::always("what the root leads to is whole", |_, state: &State| {
                let playlist = state.root.playlist;
                playlist == 0 || state.is_whole(playlist) && state.root.cover != 0
            }),
            Property::always("the row never goes back", |_, state: &State| {
                !state.went_back
            }),
            Property::sometimes("older copies lie over newer ones", |_, state: &State| {
                0 < state.root.playlist && state.root.playlist < state.root.cover
            }),
            Property::sometimes("two attempts publish the same set", |_, state: &State| {
                let of_first = state.attempts.iter().filter(|attempt| attempt.job == 0);
                of_first.count() > 1
            }),
        ]
    }
}

impl Ends for Publications {
    /// Nobody is at work, and both kinds of readers see the same.
    fn is_over(&self, state: &State) -> bool {
        let jobs = state.jobs.iter().all(|job| job.status == Status::Over);
        let Root { cover, playlist } = state.root;
        jobs && state.attempts.is_empty() && cover == state.row && playlist == state.row
    }
}
