//! What a client makes durable by way of a proxy, one write after the other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// When somebody is told of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The server has heard nothing of it.
    Before,
    /// The server has the first half of what it is to store. Not told of what stores nothing, nor of statements.
    During,
    /// The server has answered, which the client does not know.
    After,
}

/// Who is told of every write of all clients of a proxy, which are numbered from 1.
#[derive(Clone)]
pub struct Watch {
    goes_on: Arc<dyn Fn(u32, Moment) -> bool + Send + Sync>,
    begun: Arc<AtomicU32>,
}

impl Watch {
    /// One that answers for each moment of each write whether the client's connection goes on.
    pub fn new(goes_on: impl Fn(u32, Moment) -> bool + Send + Sync + 'static) -> Self {
        Self {
            goes_on: Arc::new(goes_on),
            begun: Arc::default(),
        }
    }

    /// The number of a write that begins.
    pub(crate) fn begin(&self) -> u32 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn goes_on(&self, write: u32, moment: Moment) -> bool {
        (self.goes_on)(write, moment)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = self.begun.load(Ordering::Relaxed);
        f.debug_struct("Watch")
            .field("begun", &begun)
            .finish_non_exhaustive()
    }
}
