//! Tells whoever follows jobs when it is worth looking again: one look at the database per process,
//! however many follow, and none while nobody does.

use std::sync::Arc;
use std::time::Duration;

use telecine_engine::store::Store;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How often the database is looked at while somebody follows a job.
const LOOK: Duration = Duration::from_millis(200);

/// Changes of the database, until it is dropped.
#[derive(Debug)]
pub(crate) struct Changes {
    changed: watch::Sender<u64>,
    wanted: Arc<Notify>,
    _watching: JoinSet<()>,
}

impl Changes {
    /// Starts to watch.
    pub(crate) fn watch(store: Arc<dyn Store>) -> Self {
        let changed = watch::Sender::new(0);
        let wanted = Arc::new(Notify::new());
        let mut watching = JoinSet::new();
        watching.spawn(look(store, changed.clone(), wanted.clone()));
        Self {
            changed,
            wanted,
            _watching: watching,
        }
    }

    /// Starts to listen; what happens after that is heard.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        let receiver = self.changed.subscribe();
        self.wanted.notify_one();
        receiver
    }
}

async fn look(store: Arc<dyn Store>, changed: watch::Sender<u64>, wanted: Arc<Notify>) {
    let mut last = None;
    let mut moved = false;
    loop {
        if changed.receiver_count() == 0 {
            wanted.notified().await;
        }
        let now = store.change_counter().await.ok();
        // A commit counts a moment before others can see it: what was too early is looked at again. And
        // whoever cannot be told that nothing happened has to look.
        let again = std::mem::replace(&mut moved, now != last);
        if now.is_none() || moved || again {
            changed.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        last = now;
        tokio::time::sleep(LOOK).await;
    }
}
