//! Time, as those see it who wait for it. It is the machine's, except within [`simulate`], where it
//! passes as fast as everybody waits: a day of nothing to do is over at once, and two runs of the same
//! see the same instants.
//!
//! What is written down carries the database's time, never this one.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

thread_local! {
    /// The simulated time of this thread, if it has one.
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
    /// Numbers the waits of a thread, so that of those that end at once the first ends first.
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

struct Simulated {
    now: Instant,
    waits: BinaryHeap<Reverse<Wait>>,
}

/// Somebody waits until then.
struct Wait {
    until: Instant,
    number: u64,
    waker: Waker,
    /// Gone when nobody waits any more: there would be nobody to wake.
    wanted: Weak<()>,
}

impl PartialEq for Wait {
    fn eq(&self, other: &Self) -> bool {
        (self.until, self.number) == (other.until, other.number)
    }
}

impl Eq for Wait {}

impl PartialOrd for Wait {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wait {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.until, self.number).cmp(&(other.until, other.number))
    }
}

/// Something took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// Now. Only good for being compared with other instants of the same thread, or of none that is
/// simulated.
#[must_use]
pub fn now() -> Instant {
    let simulated = SIMULATED.with_borrow(|simulated| simulated.as_ref().map(|it| it.now));
    simulated.unwrap_or_else(Instant::now)
}

/// Waits so long.
pub async fn sleep(duration: Duration) {
    if SIMULATED.with_borrow(Option::is_none) {
        return tokio::time::sleep(duration).await;
    }
    let until = now() + duration;
    let wanted = Arc::new(());
    std::future::poll_fn(|context| wait(until, (context, &wanted))).await;
}

fn wait(until: Instant, (context, wanted): (&Context<'_>, &Arc<()>)) -> Poll<()> {
    SIMULATED.with_borrow_mut(|simulated| match simulated {
        Some(simulated) if simulated.now < until => {
            simulated.waits.push(Reverse(Wait {
                until,
                number: WAITS.replace(WAITS.get() + 1),
                waker: context.waker().clone(),
                wanted: Arc::downgrade(wanted),
            }));
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
}

/// What a future answers, if it does so in time.
///
/// # Errors
/// [`Elapsed`] if it does not; it is dropped then.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut over = pin!(sleep(duration));
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => over.as_mut().poll(context).map(|()| Err(Elapsed)),
    })
    .await
}

/// Runs a future and what it spawns on this thread, in simulated time: whenever nobody can go on, the
/// first of those who wait can.
///
/// # Errors
/// What the system says about a new runtime.
pub fn simulate<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(pass)
        .build()?;
    let simulated = Simulated {
        now: Instant::now(),
        waits: BinaryHeap::new(),
    };
    SIMULATED.set(Some(simulated));
    // As a task: what is waited for by `block_on` itself is not seen when the thread is about to park.
    let done = runtime.block_on(async { tokio::spawn(future).await });
    // Its tasks go before the time they live in.
    drop(runtime);
    SIMULATED.set(None);
    done.map_err(std::io::Error::other)
}

/// Lets time pass until somebody can go on.
fn pass() {
    let woken = SIMULATED.with_borrow_mut(|simulated| {
        let simulated = simulated.as_mut()?;
        loop {
            let Reverse(first) = simulated.waits.pop()?;
            if first.wanted.strong_count() > 0 {
                simulated.now = simulated.now.max(first.until);
                return Some(first.waker);
            }
        }
    });
    if let Some(waker) = woken {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn simulated_time_passes_as_fast_as_everybody_waits() {
        let began = Instant::now();
        let seen = simulate(async {
            let start = now();
            let longer = tokio::spawn(async move {
                sleep(2 * DAY).await;
                now() - start
            });
            sleep(DAY).await;
            (now() - start, longer.await.unwrap())
        });
        assert_eq!(seen.unwrap(), (DAY, 2 * DAY));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_wait_that_was_given_up_holds_nobody_up() {
        let seen = simulate(async {
            let waits = tokio::spawn(sleep(DAY));
            sleep(Duration::from_secs(1)).await;
            waits.abort();
            let start = now();
            sleep(2 * DAY).await;
            now() - start
        });
        assert_eq!(seen.unwrap(), 2 * DAY);
    }

    #[test]
    fn what_takes_too_long_is_dropped() {
        let seen = simulate(async {
            let late = timeout(DAY, sleep(2 * DAY)).await;
            (late, timeout(DAY, sleep(Duration::ZERO)).await)
        });
        assert_eq!(seen.unwrap(), (Err(Elapsed), Ok(())));
    }
}
