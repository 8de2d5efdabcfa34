//! The database in memory keeps the contract of the real ones.

use std::sync::Arc;

use telecine_engine::store::Store;
use telecine_testkit::conformance::store::StoreFactory;
use telecine_testkit::memory::MemoryStore;

telecine_testkit::store_conformance!(crate::empty());

#[derive(Debug, Default)]
struct Memory(MemoryStore);

async fn empty() -> Memory {
    Memory::default()
}

#[async_trait::async_trait]
impl StoreFactory for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}
