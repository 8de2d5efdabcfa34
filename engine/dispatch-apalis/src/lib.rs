//! The doorbell between processes on Redis, by [apalis](https://docs.rs/apalis).
//!
//! Redis carries [hints](Hint): ids, and nothing that would be missed. A hint reaches one process; if no
//! worker waits there, or what waits does not fit into what is left of it, it is passed on to all of them by
//! the doorbell that this one is built on (`notify` of Postgres, or that within the process), which is also
//! what rings while Redis is away.
//! Whatever happens to Redis, workers look by themselves every [`PATIENCE`].
//!
//! What apalis-redis 1.0.0 has to be kept from is in [`link`].

mod link;
mod pulse;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::queue::Queue;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use link::{Link, WireHint};

/// How long a worker waits for a ring before it looks by itself: what a lost hint costs.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Hints that may wait to be sent; more are told by the other doorbell.
const UNSENT: usize = 4096;
/// Copies of a hint at most: processes that are woken by many steps at once.
const COPIES: usize = 16;

/// Hints that are passed on within this time are passed on by one ring: whoever hears it looks into the
/// database, and finds all that they tell of. A process that has become busy may have the whole backlog of
/// a queue to pass on.
const PASSED_ON: Duration = Duration::from_millis(100);

/// Why Redis cannot be the doorbell.
#[derive(Debug, thiserror::Error)]
pub enum ApalisError {
    /// The address is none.
    #[error("it is no address such as redis://host:6379: {0}")]
    Address(String),
}

/// Rings the workers of every process that shares a Redis and a name.
#[derive(Debug)]
pub struct ApalisDispatcher {
    inside: Arc<Inside>,
    out: mpsc::Sender<(Queue, WireHint)>,
    health: watch::Receiver<Option<String>>,
    _tasks: JoinSet<()>,
}

/// What the parts share.
#[derive(Debug)]
pub(crate) struct Inside {
    /// Workers of this process.
    here: InProcessDispatcher,
    /// How many of them wait for a ring now.
    waiting: watch::Sender<usize>,
    /// Whether one ever listened: a process without workers takes no hints.
    listening: watch::Sender<bool>,
    /// What rings where hints do not reach.
    other: Arc<dyn Dispatcher>,
    /// Whether a hint was heard, by a worker that waited for one, that was not passed on.
    heard: AtomicBool,
    /// That there are hints to pass on.
    unwanted: Notify,
}

impl ApalisDispatcher {
    /// Starts to ring on the Redis at `url`, for those who share `name` (letters, digits and dashes),
    /// with `other` for when that is not possible. Connects in the background, and again whenever the
    /// connection is lost.
    ///
    /// # Errors
    /// [`ApalisError`]; a Redis that is not there is none.
    pub fn start(url: &str, name: &str, other: Arc<dyn Dispatcher>) -> Result<Self, ApalisError> {
        let client = redis::Client::open(url).map_err(|e| ApalisError::Address(e.to_string()))?;
        let inside = Arc::new(Inside::new(other.clone()));
        let (out, hints) = mpsc::channel(UNSENT);
        let (told, health) = watch::channel(Some("redis has not answered yet".to_owned()));
        let link = Link::new(client, name);
        let mut tasks = JoinSet::new();
        tasks.spawn(link::send(link.clone(), hints, (told, inside.clone())));
        tasks.spawn(link::tidy(link.clone()));
        for queue in Queue::ALL {
            tasks.spawn(link::hear(link.clone(), queue, inside.clone()));
        }
        tasks.spawn(follow(other, inside.clone()));
        tasks.spawn(pass_on(inside.clone()));
        Ok(Self {
            inside,
            out,
            health,
            _tasks: tasks,
        })
    }
}

impl Dispatcher for ApalisDispatcher {
    fn ring(&self, hints: &[Hint]) {
        self.inside.here.ring(hints);
        let mut sent = !hints.is_empty() && self.health.borrow().is_none();
        for hint in hints {
            for _ in 0..hint.steps.clamp(1, COPIES) {
                let wire = WireHint::from(hint);
                sent = sent && self.out.try_send((hint.queue, wire)).is_ok();
            }
        }
        if !sent {
            self.inside.other.ring(hints);
        }
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.inside.listening.send_replace(true);
        Box::new(CountedBell {
            bell: self.inside.here.listen(),
            inside: self.inside.clone(),
        })
    }

    fn patience(&self) -> Duration {
        self.inside.other.patience().min(PATIENCE)
    }

    fn pass_on(&self) {
        self.inside.does_not_fit();
    }

    fn trouble(&self) -> Option<String> {
        self.health.borrow().clone()
    }
}

impl Inside {
    fn new(other: Arc<dyn Dispatcher>) -> Self {
        Self {
            here: InProcessDispatcher::default(),
            waiting: watch::Sender::new(0),
            listening: watch::Sender::new(false),
            other,
            heard: AtomicBool::new(false),
            unwanted: Notify::new(),
        }
    }

    /// Hands a hint on: to the worker that waits here, or to whoever waits elsewhere.
    pub(crate) fn heard(&self, hint: &WireHint) {
        if *self.waiting.borrow() == 0 {
            tracing::trace!(run.id = hint.run, "a hint is passed on");
            self.unwanted.notify_one();
        } else {
            self.heard.store(true, Ordering::Release);
        }
        self.here.ring(&[]);
    }

    /// The worker here has no room for something that waits, which may be what it heard of.
    fn does_not_fit(&self) {
        if self.heard.swap(false, Ordering::AcqRel) {
            self.unwanted.notify_one();
        }
    }
}

/// Passes on the hints that nobody here waits for or has room for, at once and then together.
async fn pass_on(inside: Arc<Inside>) {
    loop {
        inside.unwanted.notified().await;
        inside.other.ring(&[]);
        tokio::time::sleep(PASSED_ON).await;
    }
}

/// Rings here whenever the other doorbell rings.
async fn follow(other: Arc<dyn Dispatcher>, inside: Arc<Inside>) {
    let mut bell = other.listen();
    loop {
        bell.rung().await;
        inside.here.ring(&[]);
    }
}

/// A listener that is counted while it waits.
struct CountedBell {
    bell: Box<dyn Bell>,
    inside: Arc<Inside>,
}

#[async_trait]
impl Bell for CountedBell {
    async fn rung(&mut self) {
        let _waits = Waits::begin(&self.inside.waiting);
        self.bell.rung().await;
    }
}

/// Counts a listener until it is dropped: it may stop waiting for other reasons than a ring.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Dispatcher for Counting {
        fn ring(&self, _hints: &[Hint]) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn listen(&self) -> Box<dyn Bell> {
            InProcessDispatcher::default().listen()
        }

        fn patience(&self) -> Duration {
            PATIENCE
        }
    }

    #[tokio::test]
    async fn a_hint_that_does_not_fit_whoever_heard_it_is_passed_on_once() {
        let other = Arc::new(Counting::default());
        let inside = Arc::new(Inside::new(other.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(pass_on(inside.clone()));
        let passed_on = async || {
            tokio::time::sleep(PASSED_ON * 2).await;
            other.0.load(Ordering::Relaxed)
        };
        let waits = Waits::begin(&inside.waiting);
        let run = "job_1".to_owned();
        inside.heard(&WireHint { run });
        assert_eq!(passed_on().await, 0, "a worker waits here");
        inside.does_not_fit();
        assert_eq!(passed_on().await, 1, "it has no room");
        // It looks again because of that, as everybody does.
        inside.does_not_fit();
        assert_eq!(passed_on().await, 1, "nobody goes on ringing");
        drop(waits);
    }

    #[tokio::test]
    async fn a_backlog_that_nobody_here_waits_for_is_passed_on_together() {
        let other = Arc::new(Counting::default());
        let inside = Arc::new(Inside::new(other.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(pass_on(inside.clone()));
        let began = std::time::Instant::now();
        for number in 0..1000 {
            let run = format!("job_{number}");
            inside.heard(&WireHint { run });
            tokio::task::yield_now().await;
        }
        let before_the_last = other.0.load(Ordering::Relaxed);
        while other.0.load(Ordering::Relaxed) == before_the_last {
            tokio::task::yield_now().await;
        }
        let rings = other.0.load(Ordering::Relaxed) as u128;
        let most = 2 + began.elapsed().as_millis() / PASSED_ON.as_millis();
        assert!((2..=most).contains(&rings), "{rings} rings");
    }
}
