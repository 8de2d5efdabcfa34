//! Doorbells: that something may be ready to run. Never the truth: a worker that hears the bell
//! looks into the store, and a bell that is lost, late or rung twice costs latency only.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::id::RunId;
use crate::queue::Queue;

/// What a ring tells besides that it rang: ids only, because whoever hears it looks into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// A run with steps that wait.
    pub run: RunId,
    /// Where they wait.
    pub queue: Queue,
    /// How many became ready.
    pub steps: usize,
}

/// Rings workers awake.
///
/// # Contract
///
/// * [`Dispatcher::ring`] returns at once and cannot fail as far as its caller is concerned.
/// * A ring after [`Dispatcher::listen`] is heard by the next [`Bell::rung`], even if nobody was
///   waiting at that moment: a worker listens first, then looks, then waits.
/// * Rings in a row may be heard as one.
pub trait Dispatcher: std::fmt::Debug + Send + Sync {
    /// Says that steps may be ready: those that the hints tell of, or any.
    fn ring(&self, hints: &[Hint]);

    /// Starts listening.
    fn listen(&self) -> Box<dyn Bell>;

    /// How long a worker waits for a ring before it looks by itself. Bounds what a lost ring costs,
    /// and how long the steps of processes that this bell cannot hear wait.
    fn patience(&self) -> Duration;

    /// Says that whoever looked here has no room for something that waits. A bell that rings in some
    /// places only rings in the others then, if it has rung here since this was last said.
    fn pass_on(&self) {}

    /// What is wrong with it, in one sentence: rings are late, and nothing else.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// One listener.
#[async_trait]
pub trait Bell: Send {
    /// Resolves when the bell has rung since this was last called, or since listening began.
    async fn rung(&mut self);
}

/// Other processes on the same database ring no bell here, so this bounds how long their steps wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// The doorbell within one process.
#[derive(Debug)]
pub struct InProcessDispatcher {
    rings: watch::Sender<u64>,
}

impl Default for InProcessDispatcher {
    fn default() -> Self {
        Self {
            rings: watch::Sender::new(0),
        }
    }
}

impl Dispatcher for InProcessDispatcher {
    fn ring(&self, _hints: &[Hint]) {
        self.rings
            .send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    fn listen(&self) -> Box<dyn Bell> {
        Box::new(InProcessBell {
            rings: self.rings.subscribe(),
        })
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

struct InProcessBell {
    rings: watch::Receiver<u64>,
}

#[async_trait]
impl Bell for InProcessBell {
    async fn rung(&mut self) {
        if self.rings.changed().await.is_err() {
            // The dispatcher is gone: nobody will ring again.
            std::future::pending::<()>().await;
        }
    }
}
