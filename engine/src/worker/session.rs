use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::metrics::{counter, histogram};
use futures_util::future::select_ok;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::contact::Contact;
use crate::committer::Committer;
use crate::id::SessionId;
use crate::metrics;
use crate::pulse::Pulse;
use crate::store::{Store, StoreError};

/// How long a session lives after the last sign of life that its process gave.
pub const LEASE: Duration = Duration::from_millis(7500);
/// How often it is renewed: three beats per lease.
pub(crate) const BEAT: Duration = Duration::from_millis(2500);
/// How soon a beat that was not answered is sent again, on another connection: the way of the first may be
/// gone without a word (an entry that a router dropped). An answer takes some 2 ms.
const SECOND: Duration = Duration::from_millis(500);
/// How long the second one may take, with its connection.
const ANSWER: Duration = Duration::from_millis(1000);
/// A session that was not renewed for so long has missed a beat, also if the way of one was gone.
pub const MISSED: Duration = BEAT.saturating_add(SECOND).saturating_add(ANSWER);
/// How soon it is tried again when it could not be renewed, or when there was nothing to renew it for.
const AGAIN: Duration = Duration::from_millis(250);
/// How long one try may take, with the second one. Connections that never answer are given up while there
/// is time for the next.
const PATIENCE: Duration = Duration::from_millis(2000);
/// How often the runtime shows that it turns.
const TICK: Duration = Duration::from_millis(250);

/// A live session. Renewed from a thread of its own, so that a busy runtime cannot fake death, and only
/// up to a lease after runtime and committer moved last, so that a deadlocked one cannot fake life.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    lost: CancellationToken,
    stop: CancellationToken,
    contact: Contact,
    thread: Option<JoinHandle<()>>,
    ticking: AbortHandle,
}

impl Session {
    /// Registers a session and starts renewing it for as long as the calling runtime and a committer
    /// get on.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(store: Arc<dyn Store>, committer: &Committer) -> Result<Self, StoreError> {
        let id = SessionId::generate();
        let name = name_of_process();
        let vitals = Vitals {
            runtime: Arc::default(),
            committer: committer.pulse().clone(),
            origin: Instant::now(),
        };
        store.open_session(&id, &name, LEASE).await?;
        let contact = Contact::default();
        contact.made();
        let ticking = tokio::spawn(vitals.clone().tick()).abort_handle();
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let beat = Beat {
            store,
            id: id.clone(),
            vitals,
            contact: contact.clone(),
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
            contact,
            thread: Some(thread),
            ticking,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Since when its process has been able to reach the database.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Resolves when the session was ended by somebody else.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
        self.ticking.abort();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Its machine and its process, for people who look for it: `encoder-3 pid 4711`.
fn name_of_process() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host} pid {}", std::process::id())
}

/// When runtime and committer moved last.
#[derive(Debug, Clone)]
struct Vitals {
    /// Milliseconds after `origin`.
    runtime: Arc<AtomicU64>,
    committer: Pulse,
    origin: Instant,
}

impl Vitals {
    /// Shows that the runtime turns, for as long as it does.
    async fn tick(self) {
        loop {
            let millis = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.runtime.store(millis, Ordering::Release);
            tokio::time::sleep(TICK).await;
        }
    }

    fn last(&self) -> Instant {
        let millis = self.runtime.load(Ordering::Acquire);
        let runtime = self.origin + Duration::from_millis(millis);
        runtime.min(self.committer.last())
    }
}

struct Beat {
    store: Arc<dyn Store>,
    id: SessionId,
    vitals: Vitals,
    contact: Contact,
    lost: CancellationToken,
    stop: CancellationToken,
}

/// What became of a beat.
enum Renewed {
    Yes,
    Ended,
    Failed,
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
        let mut stood_for = self.vitals.origin;
        // The first one soon: a store may note who gives it.
        let mut due = tokio::time::Instant::now() + AGAIN;
        let mut stuck = false;
        loop {
            tokio::time::sleep_until(due).await;
            let began = tokio::time::Instant::now();
            let last = self.vitals.last();
            let left = LEASE.saturating_sub(last.elapsed());
            if left.is_zero() != stuck {
                stuck = left.is_zero();
                self.tell(stuck);
            }
            if last <= stood_for || stuck {
                due = began + AGAIN;
                continue;
            }
            due = match self.beat(left).await {
                Renewed::Yes => {
                    stood_for = last;
                    began + BEAT
                }
                Renewed::Ended => return,
                Renewed::Failed => tokio::time::Instant::now() + AGAIN,
            };
        }
    }

    /// Tells that nothing moves any more, or that it does again.
    fn tell(&self, stuck: bool) {
        let seconds = LEASE.as_secs_f64();
        match stuck {
            true => tracing::error!(
                session.id = %self.id,
                "nothing has moved in this process for {seconds} s: its lease is not renewed, and its \
                 steps will go to others"
            ),
            false => tracing::warn!(session.id = %self.id, "this process moves again"),
        }
    }

    /// What comes first of a beat and the one after it.
    async fn renew_twice(&self, lease: Duration) -> Result<bool, StoreError> {
        let renewing = [Duration::ZERO, SECOND].map(|pause| {
            Box::pin(async move {
                tokio::time::sleep(pause).await;
                self.store.renew_session(&self.id, lease).await
            })
        });
        select_ok(renewing).await.map(|(there, _)| there)
    }

    async fn beat(&self, lease: Duration) -> Renewed {
        let began = Instant::now();
        let renewed = tokio::time::timeout(PATIENCE, self.renew_twice(lease)).await;
        let renewed = renewed.unwrap_or_else(|_| {
            let why = "it did not answer in time".to_owned();
            Err(StoreError::Unreachable(why))
        });
        histogram!(metrics::LEASE_SECONDS.name).record(began.elapsed());
        let result = match &renewed {
            Ok(true) => "ok",
            Ok(false) => "lost",
            Err(_) => "failed",
        };
        counter!(metrics::LEASE_RENEWALS.name, "result" => result).increment(1);
        match renewed {
            Ok(there) => {
                self.contact.made();
                if there { Renewed::Yes } else { Renewed::Ended }
            }
            Err(error) => {
                self.contact.broken();
                // The lease may still be good: the next beat tells.
                tracing::warn!(%error, "the session could not be renewed");
                Renewed::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_session_is_named_after_its_machine_and_its_process() {
        let host = Command::new("uname").arg("-n").output().unwrap().stdout;
        let host = String::from_utf8(host).unwrap();
        let name = format!("{} pid {}", host.trim(), std::process::id());
        assert_eq!(name_of_process(), name);
    }
}
