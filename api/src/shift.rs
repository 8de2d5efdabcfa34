//! A worker that stays: one session after the other, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use telecine_engine::activity::Registry;
use telecine_engine::worker::{Neighbours, Worker, WorkerError, WorkerOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::machine;

/// How long to wait before a session is opened after one that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What sessions are opened with.
#[derive(Debug)]
pub(crate) struct Workplace {
    /// The engine.
    pub(crate) app: App,
    /// Installed activities.
    pub(crate) registry: Arc<Registry>,
    /// Directory for what attempts write while they run.
    pub(crate) scratch: PathBuf,
    /// How sessions behave.
    pub(crate) options: WorkerOptions,
    /// Ends the work.
    pub(crate) stop: CancellationToken,
}

/// A worker at work.
#[derive(Debug)]
pub(crate) struct Shift(JoinHandle<()>);

impl Shift {
    /// Opens a session and works from then on: the database has to be there now, and may go and come
    /// back later.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn begin(place: Workplace) -> Result<Self, WorkerError> {
        let first = place.open().await?;
        Ok(Self(tokio::spawn(place.work(first))))
    }

    /// Resolves when what was running has reached a checkpoint and was given back.
    pub(crate) async fn ended(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the worker broke down");
        }
    }
}

impl Workplace {
    async fn open(&self) -> Result<Worker, WorkerError> {
        // What a process left that was here before takes room that steps may have.
        let committer = self.app.coordinator.committer.clone();
        Neighbours::of(&self.scratch, committer).bury().await;
        let options = WorkerOptions {
            machine: machine::with_free_disk(self.options.machine, &self.scratch),
            ..self.options.clone()
        };
        self.app
            .open_worker_in(&self.scratch, &self.registry, options)
            .await
    }

    async fn work(self, first: Worker) {
        let mut opened = Ok(first);
        loop {
            let ended = match opened {
                Ok(worker) => self.session(worker).await,
                Err(error) => Err(error),
            };
            if self.stop.is_cancelled() {
                return;
            }
            match ended {
                Ok(()) => {}
                Err(WorkerError::LeaseLost) => tracing::warn!(
                    "this process was taken for dead; its steps went to others, and it begins anew"
                ),
                Err(error) => {
                    tracing::error!(%error, "the worker cannot go on; it tries again");
                    self.pause().await;
                }
            }
            opened = self.open().await;
        }
    }

    async fn session(&self, worker: Worker) -> Result<(), WorkerError> {
        let _services = self.app.start_services(&worker);
        worker.run(self.stop.clone()).await
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = self.stop.cancelled() => {}
        }
    }
}
