//! The doorbell within a process.

use std::sync::Arc;

use async_trait::async_trait;
use telecine_engine::dispatch::{Dispatcher, InProcessDispatcher};
use telecine_testkit::conformance::dispatch::DispatcherFactory;

/// Each process has its own.
#[derive(Debug)]
struct Alone;

#[async_trait]
impl DispatcherFactory for Alone {
    async fn open(&self) -> Arc<dyn Dispatcher> {
        Arc::new(InProcessDispatcher::default())
    }

    fn reaches_others(&self) -> bool {
        false
    }
}

telecine_testkit::dispatcher_conformance!(Alone);
