use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;

use crate::id::SessionId;
use crate::metrics;
use crate::store::{Store, StoreError};

/// How long a session lives without being renewed.
pub const LEASE: Duration = Duration::from_millis(7500);
/// How often it is renewed: three chances per lease.
const BEAT: Duration = Duration::from_millis(2500);

/// A live session. Renewed from a thread of its own, so that a busy runtime cannot fake death.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    lost: CancellationToken,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Registers a session and starts renewing it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let id = SessionId::generate();
        let name = format!("pid {}", std::process::id());
        store.open_session(&id, &name, LEASE).await?;
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let beat = Beat {
            store,
            id: id.clone(),
            lost: lost.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("telecine-beat".to_owned())
            .spawn(move || beat.run())
            .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
        Ok(Self {
            id,
            lost,
            stop,
            thread: Some(thread),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Resolves when the session was ended by somebody else.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Beat {
    store: Arc<dyn Store>,
    id: SessionId,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl Beat {
    fn run(self) {
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            // The runtime has to turn between beats too: the store's connections are given back
            // by tasks of the runtime that used them.
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.renew() => self.lost.cancel(),
                }
            }),
            Err(error) => {
                tracing::error!(%error, "the session cannot be renewed");
                self.lost.cancel();
            }
        }
    }

    /// Renews the lease until it turns out to be lost.
    async fn renew(&self) {
        loop {
            tokio::time::sleep(BEAT).await;
            let began = Instant::now();
            let renewed = self.store.renew_session(&self.id, LEASE).await;
            histogram!(metrics::LEASE_SECONDS.name).record(began.elapsed());
            let result = match &renewed {
                Ok(true) => "ok",
                Ok(false) => "lost",
                Err(_) => "failed",
            };
            counter!(metrics::LEASE_RENEWALS.name, "result" => result).increment(1);
            match renewed {
                Ok(true) => {}
                Ok(false) => return,
                // The lease may still be good: the next beat tells.
                Err(error) => tracing::warn!(%error, "the session could not be renewed"),
            }
        }
    }
}
