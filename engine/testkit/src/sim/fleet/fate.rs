use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use telecine_engine::clock;
use telecine_engine::store::StoreError;
use tokio::sync::Notify;

use super::{Shared, lock};
use crate::memory::{AtCommit, Fate};

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    /// It stands still: nothing of it gets anywhere.
    Paused,
    /// Its connections have ended.
    Dead,
}

/// The phase of a process. Those who wait for it to change go on in the order in which they came, which
/// a `watch` leaves to chance.
#[derive(Debug)]
pub(super) struct Life {
    phase: Mutex<Phase>,
    changed: Notify,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Up),
            changed: Notify::new(),
        }
    }
}

impl Life {
    pub(super) fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// Goes from one phase to another, if it is in that.
    pub(super) fn change(&self, from: Phase, to: Phase) {
        let mut phase = lock(&self.phase);
        if *phase == from {
            *phase = to;
            self.changed.notify_waiters();
        }
    }

    pub(super) fn end(&self) {
        *lock(&self.phase) = Phase::Dead;
        self.changed.notify_waiters();
    }

    /// Waits while the process stands still.
    pub(super) async fn moves(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.phase() != Phase::Paused {
                return;
            }
            changed.await;
        }
    }
}

/// What all processes meet.
#[derive(Debug)]
pub(super) struct Weather {
    outage: AtomicBool,
    rough: AtomicBool,
    deadly: bool,
}

impl Weather {
    pub(super) fn new(deadly: bool) -> Self {
        Self {
            outage: AtomicBool::new(false),
            rough: AtomicBool::new(true),
            deadly,
        }
    }

    pub(super) fn set_outage(&self, outage: bool) {
        self.outage.store(outage, Ordering::Relaxed);
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&self) {
        self.set_outage(false);
        self.rough.store(false, Ordering::Relaxed);
    }

    fn is_rough(&self) -> bool {
        self.rough.load(Ordering::Relaxed)
    }

    fn is_out(&self) -> bool {
        self.outage.load(Ordering::Relaxed)
    }
}

/// The way of one process to the database.
#[derive(Debug)]
pub(super) struct Way {
    shared: Weak<Shared>,
    life: Arc<Life>,
}

fn unreachable() -> StoreError {
    StoreError::Unreachable("the simulation wants it".to_owned())
}

fn contended() -> StoreError {
    StoreError::Contended("the simulation wants it".to_owned())
}

impl Way {
    pub(super) fn new(shared: &Arc<Shared>, life: Arc<Life>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            life,
        }
    }

    /// Waits while the process stands still.
    pub(super) async fn up(&self) {
        self.life.moves().await;
    }

    async fn delay(&self, shared: &Shared) {
        let long = shared.weather.is_rough() && shared.random().chance(2);
        let delay = match long {
            true => shared.up_to(500),
            false => Duration::from_millis(u64::from(shared.random().chance(30))),
        };
        if !delay.is_zero() {
            clock::sleep(delay).await;
        }
    }

    fn weather(&self, shared: &Shared) -> Result<(), StoreError> {
        if shared.weather.is_out() || self.life.phase() == Phase::Dead {
            return Err(unreachable());
        }
        let bad = shared.weather.is_rough() && shared.weather.deadly;
        let luck = shared.random().below(100);
        match luck {
            0 if bad => Err(unreachable()),
            1 if bad => Err(contended()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Fate for Way {
    async fn on_the_way(&self) -> Result<(), StoreError> {
        self.up().await;
        let Some(shared) = self.shared.upgrade() else {
            return Err(unreachable());
        };
        self.delay(&shared).await;
        self.up().await;
        self.weather(&shared)
    }

    async fn at_commit(&self) -> AtCommit {
        let Some(shared) = self.shared.upgrade() else {
            return AtCommit::Failed(unreachable());
        };
        self.delay(&shared).await;
        // The server ends what a process leaves open.
        if self.life.phase() != Phase::Up && shared.random().chance(50) {
            return AtCommit::Failed(unreachable());
        }
        if let Err(error) = self.weather(&shared) {
            return AtCommit::Failed(error);
        }
        let bad = shared.weather.is_rough() && shared.random().chance(3);
        if bad {
            lock(&shared.told).unanswered += 1;
            return AtCommit::Unanswered(unreachable());
        }
        AtCommit::Made
    }

    async fn on_the_way_back(&self) {
        self.up().await;
    }
}
