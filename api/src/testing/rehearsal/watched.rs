use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use telecine_engine::activity::{
    ActivityError, ActivityInfo, AttemptPort, Context, DynActivity, Progress, Witness,
};
use telecine_engine::coordinator::Coordinator;
use telecine_engine::id::RunId;
use tokio_util::sync::CancellationToken;

use super::{LOOK, Moment, Plot, Seen, SeenError, Twist, say};

/// An attempt learns within a second that its run was cancelled.
const CANCEL_ARRIVES: Duration = Duration::from_secs(5);

/// Does to the first attempt what the plot says.
#[derive(Debug)]
pub(super) struct Stagehand {
    plot: Option<Plot>,
    /// What the activity is told to be damaged.
    damaged: Vec<String>,
    done: AtomicBool,
    coordinator: Coordinator,
    run: RunId,
    stop: CancellationToken,
}

impl Stagehand {
    pub(super) fn new(
        (plot, damaged): (Option<Plot>, Vec<String>),
        (coordinator, run): (Coordinator, RunId),
        stop: CancellationToken,
    ) -> Self {
        Self {
            plot,
            damaged,
            done: AtomicBool::new(false),
            coordinator,
            run,
            stop,
        }
    }

    /// The activity, with somebody looking on.
    pub(super) fn watch(self: &Arc<Self>, activity: Arc<dyn DynActivity>) -> Arc<dyn DynActivity> {
        Arc::new(Watched {
            activity,
            stagehand: self.clone(),
        })
    }

    async fn reach(&self, moment: Moment, attempt: &Signals) {
        let Some(plot) = self.plot.filter(|plot| plot.at == moment) else {
            return;
        };
        if self.done.swap(true, Ordering::Relaxed) {
            return;
        }
        say(&Seen::Reached);
        match plot.twist {
            Twist::Hold => std::future::pending().await,
            Twist::Drain => {
                self.stop.cancel();
                attempt.draining.cancelled().await;
            }
            Twist::Cancel => {
                // Rejected if the run has stopped by itself: then there is nothing to see.
                let cancelled = self
                    .coordinator
                    .cancel(&self.run, "the conformance kit", None)
                    .await;
                if cancelled.is_ok() && moment != Moment::Start {
                    let arrived = attempt.cancelled.cancelled();
                    let _ = tokio::time::timeout(CANCEL_ARRIVES, arrived).await;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Watched {
    activity: Arc<dyn DynActivity>,
    stagehand: Arc<Stagehand>,
}

impl DynActivity for Watched {
    fn info(&self) -> Arc<ActivityInfo> {
        self.activity.info()
    }

    fn tool_fingerprint(&self) -> String {
        self.activity.tool_fingerprint()
    }

    fn run<'a>(
        &'a self,
        ctx: &'a Context,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, ActivityError>> {
        Box::pin(self.perform(ctx, input))
    }
}

impl Watched {
    async fn perform(&self, ctx: &Context, input: Value) -> Result<Value, ActivityError> {
        let (cancelled, draining) = ctx.signals();
        let signals = Signals {
            cancelled: cancelled.clone(),
            draining: draining.clone(),
        };
        say(&Seen::Began(ctx.attempt_tag().to_owned()));
        let mut over = Over { returned: false };
        let witness = Arc::new(Onlooker {
            stagehand: self.stagehand.clone(),
            signals: signals.clone(),
            saved: AtomicU32::new(0),
            counter: AtomicU64::new(0),
        });
        self.stagehand.reach(Moment::Start, &signals).await;
        let mut watched = ctx.witnessed(witness);
        if !self.stagehand.damaged.is_empty() {
            watched = watched.with_damaged(self.stagehand.damaged.clone());
        }
        let looking = tell_cancelled(signals.cancelled.clone());
        let result = self.activity.run(&watched, input).await;
        drop(looking);
        over.returned = true;
        say(&Seen::Returned(result.as_ref().err().map(SeenError::from)));
        if result.is_ok() {
            self.stagehand.reach(Moment::End, &signals).await;
        }
        result
    }
}

/// What tells an attempt to stop.
#[derive(Debug, Clone)]
struct Signals {
    cancelled: CancellationToken,
    draining: CancellationToken,
}

/// Tells when the attempt is told to stop, until what is returned is dropped. A thread of its own
/// does: those of the runtime may be blocked by the activity.
fn tell_cancelled(cancelled: CancellationToken) -> mpsc::Sender<()> {
    let (looking, over) = mpsc::channel();
    std::thread::spawn(move || {
        while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if cancelled.is_cancelled() {
                return say(&Seen::Cancelled);
            }
        }
    });
    looking
}

/// Tells when the engine drops an attempt before it has returned.
struct Over {
    returned: bool,
}

impl Drop for Over {
    fn drop(&mut self) {
        if !self.returned && !std::thread::panicking() {
            say(&Seen::Abandoned);
        }
    }
}

/// Looks at one attempt.
#[derive(Debug)]
struct Onlooker {
    stagehand: Arc<Stagehand>,
    signals: Signals,
    saved: AtomicU32,
    counter: AtomicU64,
}

#[async_trait]
impl Witness for Onlooker {
    fn checkpoint_read(&self) {
        say(&Seen::CheckpointRead);
    }

    async fn checkpoint_saved(&self) {
        say(&Seen::CheckpointSaved);
        let saved = self.saved.fetch_add(1, Ordering::Relaxed) + 1;
        let moment = Moment::Checkpoint(saved);
        self.stagehand.reach(moment, &self.signals).await;
    }

    fn generation_allocated(&self, name: &str) {
        say(&Seen::Allocated(name.to_owned()));
    }

    /// In a job, an earlier step may have allocated the generation; here there is none, so it is
    /// done now.
    async fn publishing(
        &self,
        port: &dyn AttemptPort,
        name: &str,
        generation: u64,
    ) -> Result<(), ActivityError> {
        let above = u32::try_from(generation.saturating_sub(1)).unwrap_or(u32::MAX);
        port.allocate_generation(name, above, None).await?;
        say(&Seen::Published(name.to_owned()));
        Ok(())
    }

    fn progressed(&self, progress: &Progress) {
        let to = progress.counter;
        let from = self.counter.fetch_max(to, Ordering::Relaxed);
        if to < from {
            say(&Seen::ProgressFell { from, to });
        }
        if let Some(percent) = progress.percent
            && !(0.0..=100.0).contains(&percent)
        {
            say(&Seen::BadPercent(percent.to_string()));
        }
    }
}
