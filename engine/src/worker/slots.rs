//! What is free of a worker's machine, and who holds the rest.

use crate::queue::{Free, Room};
use crate::store::{Claim, ClaimRequest};

/// Shared by a worker, its attempts, and the committer that claims for it: see [`Free`].
#[derive(Debug, Clone)]
pub(super) struct Slots {
    request: ClaimRequest,
}

impl Slots {
    /// All of the machine that the request names is free.
    pub(super) fn new(request: ClaimRequest) -> Self {
        Self {
            request: ClaimRequest {
                free: Free::new(request.machine.room()),
                ..request
            },
        }
    }

    /// A request for steps that fit into what is free when it is looked at.
    pub(super) fn request(&self) -> ClaimRequest {
        self.request.clone()
    }

    /// Whether no attempt can begin.
    pub(super) fn are_taken(&self) -> bool {
        self.request.free.now().attempts() == 0
    }

    /// The seat of a step that was claimed by a request of these slots.
    pub(super) fn seat(&self, claim: &Claim) -> Seat {
        let cost = self.request.machine.cost(&claim.kind);
        Seat {
            slots: self.clone(),
            held: cost.unwrap_or_default(),
        }
    }
}

/// What an attempt takes of the machine; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    slots: Slots,
    held: Room,
}

impl Seat {
    /// Gives it back, and asks for steps that fit into all that is free then.
    pub(super) fn leave(self) -> ClaimRequest {
        self.slots.request()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.slots.request.free.give(self.held);
    }
}
