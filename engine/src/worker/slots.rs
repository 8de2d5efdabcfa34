//! What is free of a worker's machine, and who holds the rest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::queue::{Machine, Room};
use crate::store::{Claim, ClaimRequest};

/// Shared by a worker and its attempts. Room is handed on, never counted twice: a request for steps
/// owns what is free while it is on its way, and what it did not use comes back.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    /// What the worker can run, with nothing free.
    template: Arc<ClaimRequest>,
    free: Arc<Mutex<Room>>,
}

impl Slots {
    /// All of the machine that `template` names is free.
    pub(super) fn new(template: ClaimRequest) -> Self {
        Self {
            free: Arc::new(Mutex::new(template.machine.room())),
            template: Arc::new(ClaimRequest {
                free: Room::default(),
                ..template
            }),
        }
    }

    /// Whether no attempt can begin.
    pub(super) fn are_taken(&self) -> bool {
        self.lock().attempts() == 0
    }

    /// All that is free.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            slots: self.clone(),
            free: std::mem::take(&mut self.lock()),
        }
    }

    /// The seat of a step that was claimed into an offer of these slots.
    pub(super) fn seat(&self, claim: &Claim) -> Seat {
        Seat {
            slots: self.clone(),
            held: self.cost(claim),
        }
    }

    fn cost(&self, claim: &Claim) -> Room {
        let machine: Machine = self.template.machine;
        machine.cost(&claim.kind).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that is on its way into a request; given back when dropped.
#[derive(Debug)]
pub(super) struct Offer {
    slots: Slots,
    free: Room,
}

impl Offer {
    /// A request for steps that fit.
    pub(super) fn request(&self) -> ClaimRequest {
        ClaimRequest {
            free: self.free,
            ..(*self.slots.template).clone()
        }
    }

    /// Takes from it what was claimed; the seats of those claims hold it from now on.
    pub(super) fn settle(mut self, claims: &[Claim]) {
        for claim in claims {
            self.free -= self.slots.cost(claim);
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        *self.slots.lock() += self.free;
    }
}

/// What an attempt takes of the machine; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    slots: Slots,
    held: Room,
}

impl Seat {
    /// The seat, which is free now, with everything else that is.
    pub(super) fn offer(mut self) -> Offer {
        let held = std::mem::take(&mut self.held);
        let mut offer = self.slots.offer();
        offer.free += held;
        offer
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.slots.lock() += self.held;
    }
}
