//! What every [`Dispatcher`] does; an implementation calls
//! [`dispatcher_conformance!`](crate::dispatcher_conformance) with a way to make a medium.
#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use telecine_engine::dispatch::{Bell, Dispatcher, Hint};
use telecine_engine::id::RunId;
use telecine_engine::queue::Queue;

/// How long a ring may take to be heard. Far beyond what is usual: machines of tests are busy.
const HEARD: Duration = Duration::from_secs(20);
/// How often a ring is repeated while nobody hears it: a listener on a network may still be about to
/// connect.
const AGAIN: Duration = Duration::from_millis(100);

/// What dispatchers of several processes ring on.
#[async_trait]
pub trait DispatcherFactory: std::fmt::Debug + Send + Sync {
    /// A dispatcher. Each call is like another process.
    async fn open(&self) -> Arc<dyn Dispatcher>;

    /// Whether a ring of one process is heard in another; if not, patience is what others have.
    fn reaches_others(&self) -> bool;
}

/// A hint that a step of a run waits.
fn hint() -> Hint {
    Hint {
        run: RunId::generate(),
        queue: Queue::Default,
        steps: 1,
    }
}

async fn heard(bell: &mut dyn Bell) {
    let rung = tokio::time::timeout(HEARD, bell.rung()).await;
    rung.unwrap();
}

/// Rings until it is heard.
async fn heard_in_the_end(from: &dyn Dispatcher, bell: &mut dyn Bell) {
    let ringing = async {
        loop {
            from.ring(&[hint()]);
            if tokio::time::timeout(AGAIN, bell.rung()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(HEARD, ringing).await.unwrap();
}

/// A worker listens first, then looks, then waits.
pub async fn a_ring_before_the_wait_is_heard(on: impl DispatcherFactory) {
    let dispatcher = on.open().await;
    let mut bell = dispatcher.listen();
    dispatcher.ring(&[hint()]);
    heard(bell.as_mut()).await;
}

/// A ring without a hint is one as well.
pub async fn a_ring_while_somebody_waits_is_heard(on: impl DispatcherFactory) {
    let dispatcher = on.open().await;
    let mut bell = dispatcher.listen();
    let (rung, ()) = tokio::join!(tokio::time::timeout(HEARD, bell.rung()), async {
        dispatcher.ring(&[])
    });
    rung.unwrap();
}

/// See the name.
pub async fn every_listener_of_a_process_hears(on: impl DispatcherFactory) {
    let dispatcher = on.open().await;
    let mut bells = [dispatcher.listen(), dispatcher.listen()];
    dispatcher.ring(&[hint()]);
    for bell in &mut bells {
        heard(bell.as_mut()).await;
    }
}

/// A commit waits for no bell.
pub async fn ringing_returns_at_once_though_nobody_listens(on: impl DispatcherFactory) {
    let dispatcher = on.open().await;
    let hints: Vec<Hint> = (0..100).map(|_| hint()).collect();
    let began = std::time::Instant::now();
    for _ in 0..100 {
        dispatcher.ring(&hints);
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(dispatcher.patience() <= Duration::from_secs(5));
}

/// See the name.
pub async fn another_process_is_reached_or_has_little_patience(on: impl DispatcherFactory) {
    let (here, there) = (on.open().await, on.open().await);
    let mut bell = there.listen();
    if on.reaches_others() {
        heard_in_the_end(here.as_ref(), bell.as_mut()).await;
    } else {
        assert!(there.patience() <= Duration::from_secs(1));
    }
}

/// Of two processes one is busy: it listens and does not wait, and the ring is heard in the other.
pub async fn a_busy_process_keeps_no_ring_to_itself(on: impl DispatcherFactory) {
    if !on.reaches_others() {
        return;
    }
    let (here, busy, idle) = (on.open().await, on.open().await, on.open().await);
    let mut occupied = busy.listen();
    heard_in_the_end(here.as_ref(), occupied.as_mut()).await;
    let mut bell = idle.listen();
    heard_in_the_end(here.as_ref(), bell.as_mut()).await;
    drop(occupied);
}

/// Runs the suite on what the expression makes: a
/// [`DispatcherFactory`](crate::conformance::dispatch::DispatcherFactory), evaluated once per case.
#[macro_export]
macro_rules! dispatcher_conformance {
    ($factory:expr) => {
        $crate::dispatcher_conformance! { $factory;
            a_ring_before_the_wait_is_heard
            a_ring_while_somebody_waits_is_heard
            every_listener_of_a_process_hears
            ringing_returns_at_once_though_nobody_listens
            another_process_is_reached_or_has_little_patience
            a_busy_process_keeps_no_ring_to_itself
        }
    };
    ($factory:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::dispatch::$case($factory).await;
            }
        )*
    };
}
