use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::activity::{Progress, ProgressCell};
use crate::store::{Fence, Store};

/// Where the attempts of a worker show how far they are, so that one transaction saves it for all
/// of them. The same write tells which attempts have lost their step. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    entries: Arc<Mutex<HashMap<Fence, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    progress: Arc<ProgressCell>,
    fenced: CancellationToken,
}

/// The place of one attempt on the board; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    board: Board,
    fence: Fence,
    /// Cancelled when the attempt turns out to have lost its step.
    pub(super) fenced: CancellationToken,
}

impl Board {
    /// Puts an attempt up.
    pub(super) fn enter(&self, fence: Fence, progress: Arc<ProgressCell>) -> Place {
        let fenced = CancellationToken::new();
        let entry = Entry {
            progress,
            fenced: fenced.clone(),
        };
        self.lock().insert(fence.clone(), entry);
        Place {
            board: self.clone(),
            fence,
            fenced,
        }
    }

    /// Saves the progress of all attempts, and tells those that have lost their step.
    pub(super) async fn save(&self, store: &dyn Store) {
        match store.save_progress(&self.shown()).await {
            Ok(lost) => self.tell(&lost),
            Err(error) => tracing::warn!(%error, "the progress of steps was not saved"),
        }
    }

    fn shown(&self) -> Vec<(Fence, Progress)> {
        let entries = self.lock();
        let shown = entries
            .iter()
            .map(|(fence, entry)| (fence.clone(), entry.progress.get()));
        shown.collect()
    }

    fn tell(&self, lost: &[Fence]) {
        let entries = self.lock();
        for entry in lost.iter().filter_map(|fence| entries.get(fence)) {
            entry.fenced.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fence, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.lock().remove(&self.fence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RunId, StepId};

    fn fence(item: u32) -> Fence {
        Fence {
            run: RunId::from("job_1".to_owned()),
            step: StepId::item("encode", item),
            fence: 1,
        }
    }

    #[test]
    fn all_attempts_are_saved_at_once_and_each_hears_of_its_own_loss() {
        let board = Board::default();
        let places = [0, 1, 2].map(|item| board.enter(fence(item), Arc::default()));
        assert_eq!(board.shown().len(), 3);
        board.tell(&[fence(1)]);
        let told = places.each_ref().map(|place| place.fenced.is_cancelled());
        assert_eq!(told, [false, true, false]);
        let [first, ..] = places;
        drop(first);
        assert_eq!(board.shown().len(), 2, "those that ended are not saved");
    }
}
