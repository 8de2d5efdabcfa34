//! Definitions by digest: read from the store once, then kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::definition::Definition;
use crate::store::{DefinitionRecord, Store, StoreError};

/// A cache of the definitions that runs of this process execute. Definitions are immutable, so
/// nothing is ever evicted; a process sees few of them.
#[derive(Debug)]
pub struct Definitions {
    store: Arc<dyn Store>,
    known: Mutex<HashMap<String, Arc<Definition>>>,
}

impl Definitions {
    /// A cache in front of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// Keeps a definition in the store and returns its digest.
    ///
    /// # Errors
    /// What the store says.
    pub async fn save(&self, definition: &Arc<Definition>) -> Result<String, StoreError> {
        let digest = definition.digest();
        if self.lock().contains_key(&digest) {
            // It was read from the store, or written to it.
            return Ok(digest);
        }
        let record = DefinitionRecord {
            digest: digest.clone(),
            name: definition.name.clone(),
            version: definition.version,
            canonical: definition.canonical(),
        };
        self.store.save_definition(&record).await?;
        self.remember(&digest, definition.clone());
        Ok(digest)
    }

    /// The definition of that digest.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is not there or cannot be read.
    pub async fn get(&self, digest: &str) -> Result<Arc<Definition>, StoreError> {
        let found = self.find(digest).await?;
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no definition {digest}")))
    }

    /// The same, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it cannot be read.
    pub async fn find(&self, digest: &str) -> Result<Option<Arc<Definition>>, StoreError> {
        let known = self.lock().get(digest).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(record) = self.store.load_definition(digest).await? else {
            return Ok(None);
        };
        let definition = Definition::from_canonical(&record.canonical)
            .map_err(|e| StoreError::Corrupt(format!("definition {digest}: {e}")))?;
        let definition = Arc::new(definition);
        self.remember(digest, definition.clone());
        Ok(Some(definition))
    }

    fn remember(&self, digest: &str, definition: Arc<Definition>) {
        self.lock().insert(digest.to_owned(), definition);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Definition>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
