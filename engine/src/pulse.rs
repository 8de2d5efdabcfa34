//! Signs of life of what a session stands for. A process whose runtime or whose committer stands still
//! is of no use to anybody, however well its beats go.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a transaction may take before whoever does it counts as stuck: twice as long as any store
/// waits for its locks and its connections.
const TRANSACTION: Duration = Duration::from_secs(60);

/// Tells since when a task has been standing still, to whoever asks from another thread. It stands
/// still while it is inside its own code, and does not while it waits for work or for the store.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<State>);

#[derive(Debug)]
struct State {
    origin: Instant,
    /// Milliseconds from `origin`, plus one, when the task was entered; 0 while it waits.
    entered: AtomicU64,
    /// When the transactions began that are going on.
    transactions: Mutex<Vec<Instant>>,
}

/// A transaction that is going on until this is dropped.
#[derive(Debug)]
pub(crate) struct InTransaction<'a> {
    pulse: &'a Pulse,
    began: Instant,
}

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(State {
            origin: Instant::now(),
            entered: AtomicU64::new(0),
            transactions: Mutex::default(),
        }))
    }
}

impl Pulse {
    /// Runs the task that this is the pulse of. One that panics stands still from then on.
    pub(crate) async fn of<T>(&self, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        std::future::poll_fn(|context| {
            self.0.entered.store(self.now(), Ordering::Release);
            let polled: Poll<T> = task.as_mut().poll(context);
            self.0.entered.store(0, Ordering::Release);
            polled
        })
        .await
    }

    /// Says that what the task waits for, until the answer is dropped, is a transaction. There may be a few
    /// at once.
    pub(crate) fn transaction(&self) -> InTransaction<'_> {
        let began = Instant::now();
        self.transactions().push(began);
        InTransaction { pulse: self, began }
    }

    fn transactions(&self) -> MutexGuard<'_, Vec<Instant>> {
        let transactions = self.0.transactions.lock();
        transactions.unwrap_or_else(PoisonError::into_inner)
    }

    /// When the task was alive for certain; now, if nothing speaks against it.
    pub(crate) fn last(&self) -> Instant {
        let entered = self.at(&self.0.entered);
        let oldest = self.transactions().iter().min().copied();
        let stuck = oldest.map(|began| began + TRANSACTION);
        let now = Instant::now();
        entered.into_iter().chain(stuck).fold(now, Instant::min)
    }

    fn at(&self, state: &AtomicU64) -> Option<Instant> {
        let millis = state.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.0.origin + Duration::from_millis(millis))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Drop for InTransaction<'_> {
    fn drop(&mut self) {
        let mut transactions = self.pulse.transactions();
        if let Some(place) = transactions.iter().position(|began| *began == self.began) {
            transactions.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_is_alive_and_one_that_blocks_is_not() {
        let pulse = Pulse::default();
        let (inside, waits) = std::sync::mpsc::channel();
        let task = {
            let pulse = pulse.clone();
            std::thread::spawn(move || {
                let blocks = async {
                    tokio::task::yield_now().await;
                    let _: Result<(), _> = waits.recv();
                };
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(pulse.of(blocks));
            })
        };
        while pulse.0.entered.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        while pulse.last() != pulse.last() {
            // It may still be on its way to where it blocks.
            std::thread::yield_now();
        }
        let blocked = pulse.last();
        inside.send(()).unwrap();
        task.join().unwrap();
        assert!(pulse.last() > blocked);
    }

    #[test]
    fn a_transaction_is_no_sign_of_death_for_a_minute() {
        let pulse = Pulse::default();
        let (one, other) = (pulse.transaction(), pulse.transaction());
        let now = Instant::now();
        assert!(pulse.last() >= now);
        drop(other);
        assert_eq!(pulse.transactions().len(), 1);
        drop(one);
        assert!(pulse.transactions().is_empty());
    }
}
