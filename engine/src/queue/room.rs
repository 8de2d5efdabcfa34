//! What machines have and steps take.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Kind, Queue};
use crate::definition::{Gpu, Requires};
use crate::id::RunId;

/// Amounts of a machine: all of them, those that are free, or those that an attempt takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// Attempts at a time.
    pub slots: i64,
    /// Attempts of the queue `video:large` at a time, besides.
    pub large_slots: i64,
    /// Logical processors.
    pub cpus: i64,
    /// Memory.
    pub memory_bytes: i64,
    /// Disk for scratch.
    pub disk_bytes: i64,
    /// Graphics processors.
    pub gpus: i64,
}

impl Room {
    /// Combines two rooms amount by amount.
    fn with(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            slots: combine(self.slots, other.slots),
            large_slots: combine(self.large_slots, other.large_slots),
            cpus: combine(self.cpus, other.cpus),
            memory_bytes: combine(self.memory_bytes, other.memory_bytes),
            disk_bytes: combine(self.disk_bytes, other.disk_bytes),
            gpus: combine(self.gpus, other.gpus),
        }
    }

    /// Whether all that `other` takes is here. What it does not take may be missing.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.lack(other) == Self::default()
    }

    /// Whether `taken` has some of an amount of which too little is here for `wanted`.
    pub(super) fn is_held_up(self, wanted: Self, taken: Self) -> bool {
        let both = |lack, take| i64::from(lack > 0 && take > 0);
        self.lack(wanted).with(taken, both) != Self::default()
    }

    /// 1 for each amount that `other` takes and of which less than that is here.
    fn lack(self, other: Self) -> Self {
        self.with(other, |have, take| i64::from(take != 0 && have < take))
    }

    /// Attempts that could begin in it, if they took nothing but a slot.
    #[must_use]
    pub fn attempts(self) -> usize {
        let attempts = self.slots.max(0).saturating_add(self.large_slots.max(0));
        usize::try_from(attempts).unwrap_or(usize::MAX)
    }

    /// Whether there is a slot for what takes as much as `cost`.
    pub(super) fn has_slot_for(self, cost: Self) -> bool {
        let slots = |room: Self| Self {
            slots: room.slots,
            large_slots: room.large_slots,
            ..Self::default()
        };
        slots(self).holds(slots(cost))
    }
}

impl Add for Room {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, i64::saturating_add)
    }
}

impl Sub for Room {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(other, i64::saturating_sub)
    }
}

impl AddAssign for Room {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Room {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// What is free of one worker's machine, shared by everybody who fills and empties it: whoever claims
/// takes all there is and gives back what was not used, attempts that end give back theirs. What is
/// free is therefore in one place at any time, and never promised twice.
#[derive(Debug, Clone, Default)]
pub struct Free(Arc<Mutex<Room>>);

impl Free {
    /// So much.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self(Arc::new(Mutex::new(room)))
    }

    /// What is here now; others may take it at any moment.
    #[must_use]
    pub fn now(&self) -> Room {
        *self.lock()
    }

    /// Takes all of it.
    #[must_use]
    pub fn take(&self) -> Room {
        std::mem::take(&mut self.lock())
    }

    /// Gives room back.
    pub fn give(&self, room: Room) {
        *self.lock() += room;
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of the machine that a worker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine(Room);

impl Machine {
    /// A machine with these amounts. Whoever grants more slots than there are processors says that
    /// attempts mostly wait: each slot then counts as a processor.
    #[must_use]
    pub fn new(room: Room) -> Self {
        let cpus = room.cpus.max(room.slots.saturating_add(room.large_slots));
        Self(Room { cpus, ..room })
    }

    /// A machine that is short of nothing but slots, which all queues share.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        Self::new(Room {
            slots: i64::try_from(slots).unwrap_or(i64::MAX),
            memory_bytes: i64::MAX,
            disk_bytes: i64::MAX,
            ..Room::default()
        })
    }

    /// All of it.
    #[must_use]
    pub fn room(self) -> Room {
        self.0
    }

    /// What an attempt of a kind takes here; `None` if it would not fit even if nothing else ran.
    ///
    /// Processors never make a step unfit: it takes all there are, and longer. Memory, disk and
    /// graphics processors cannot be stretched like that. What runs alone takes all of everything.
    #[must_use]
    pub fn cost(self, kind: &Kind) -> Option<Room> {
        let Requires {
            cpu,
            memory_bytes,
            disk_bytes,
            gpu,
        } = kind.requires;
        let large = i64::from(kind.queue == Queue::VideoLarge && self.0.large_slots > 0);
        let bytes = |bytes: Option<u64>| i64::try_from(bytes.unwrap_or(0)).unwrap_or(i64::MAX);
        let cost = Room {
            slots: 1 - large,
            large_slots: large,
            cpus: i64::from(cpu).min(self.0.cpus),
            memory_bytes: bytes(memory_bytes),
            disk_bytes: bytes(disk_bytes),
            gpus: i64::from(gpu == Gpu::Required),
        };
        let cost = self.0.holds(cost).then_some(cost)?;
        Some(if kind.alone { self.0 } else { cost })
    }
}

/// What a session can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its activities, as `name@version`.
    pub activities: Vec<String>,
    /// Its machine.
    pub machine: Machine,
    /// The only run whose steps it takes, if there is one.
    pub run: Option<RunId>,
}

impl Capability {
    /// Whether steps of that run are taken at all.
    #[must_use]
    pub fn is_for(&self, run: &RunId) -> bool {
        self.run.as_ref().is_none_or(|only| only == run)
    }

    /// Whether a step of a kind would be run if nothing else were.
    #[must_use]
    pub fn has_what_it_takes(&self, kind: &Kind) -> bool {
        self.activities.contains(&kind.activity) && self.machine.cost(kind).is_some()
    }
}

/// What a ready step of a run can hope for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// A worker is there that can run it.
    Fits,
    /// There are no workers for its run at all.
    NoWorker,
    /// None of the workers can run it. They are not of this run only: others may come.
    Unfit,
    /// None of the workers can run it, and they are there for its run alone, as `telecine run` is: nobody
    /// will send others.
    Hopeless,
}

impl Prospect {
    /// That of a step of a kind.
    #[must_use]
    pub fn of(run: &RunId, kind: &Kind, offers: &[Capability]) -> Self {
        let asked = || offers.iter().filter(|offer| offer.is_for(run));
        if asked().next().is_none() {
            return Self::NoWorker;
        }
        if asked().any(|offer| offer.has_what_it_takes(kind)) {
            return Self::Fits;
        }
        match asked().any(|offer| offer.run.is_none()) {
            true => Self::Unfit,
            false => Self::Hopeless,
        }
    }

    /// Why a step of a kind waits, in a sentence for people; nothing if only for its turn.
    #[must_use]
    pub fn reason(self, kind: &Kind) -> Option<String> {
        match self {
            Self::Fits => None,
            Self::NoWorker => Some("waits for a worker: there is none".to_owned()),
            Self::Unfit | Self::Hopeless => Some(format!(
                "waits for a worker that has what it needs: {}; there is none",
                kind.needs()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(queue: Queue, requires: Requires) -> Kind {
        Kind {
            queue,
            activity: "a.b@1".to_owned(),
            requires,
            alone: false,
        }
    }

    fn machine() -> Machine {
        Machine::new(Room {
            slots: 2,
            large_slots: 1,
            cpus: 4,
            memory_bytes: 1 << 30,
            disk_bytes: 1 << 30,
            gpus: 0,
        })
    }

    #[test]
    fn a_step_that_wants_more_processors_than_there_are_takes_them_all() {
        let requires = Requires {
            cpu: 64,
            ..Requires::default()
        };
        let cost = machine().cost(&kind(Queue::Default, requires));
        assert_eq!(cost.map(|cost| cost.cpus), Some(4));
    }

    #[test]
    fn a_step_that_wants_more_memory_disk_or_graphics_than_there_is_never_fits() {
        let too_much = Some((1 << 30) + 1);
        let unfit = [
            Requires {
                memory_bytes: too_much,
                ..Requires::default()
            },
            Requires {
                disk_bytes: too_much,
                ..Requires::default()
            },
            Requires {
                gpu: Gpu::Required,
                ..Requires::default()
            },
        ];
        for requires in unfit {
            assert_eq!(machine().cost(&kind(Queue::Critical, requires)), None);
        }
        let optional = Requires {
            gpu: Gpu::Optional,
            ..Requires::default()
        };
        let cost = machine().cost(&kind(Queue::Critical, optional));
        assert_eq!(cost.map(|cost| cost.gpus), Some(0));
    }

    #[test]
    fn large_work_has_slots_of_its_own_unless_there_are_none() {
        let large = kind(Queue::VideoLarge, Requires::default());
        let own = machine().cost(&large).unwrap();
        assert_eq!((own.slots, own.large_slots), (0, 1));
        let shared = Machine::with_slots(2).cost(&large).unwrap();
        assert_eq!((shared.slots, shared.large_slots), (1, 0));
    }

    #[test]
    fn slots_beyond_the_processors_count_as_processors() {
        let machine = Machine::new(Room {
            slots: 64,
            cpus: 2,
            ..Room::default()
        });
        assert_eq!(machine.room().cpus, 64);
    }
}
