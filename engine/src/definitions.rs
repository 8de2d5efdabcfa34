//! Definitions by digest: read from the store once, then kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::definition::Definition;
use crate::store::{DefinitionRecord, Store, StoreError};

/// A cache of the definitions that runs of this process execute. Definitions are immutable, so
/// nothing is ever evicted; a process sees few of them.
#[derive(Debug)]
pub struct Definitions {
    store: Arc<dyn Store>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_digest: HashMap<String, Arc<Definition>>,
    /// Of the same, by where each is: there is no other as long as it is kept. A digest takes longer than
    /// everything else that a submission needs.
    digests: HashMap<usize, String>,
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

    /// The digest of a definition.
    #[must_use]
    pub fn digest(&self, definition: &Arc<Definition>) -> String {
        self.known_digest(definition)
            .unwrap_or_else(|| definition.digest())
    }

    fn known_digest(&self, definition: &Arc<Definition>) -> Option<String> {
        self.lock().digests.get(&place(definition)).cloned()
    }

    /// Keeps a definition in the store and returns its digest.
    ///
    /// # Errors
    /// What the store says.
    pub async fn save(&self, definition: &Arc<Definition>) -> Result<String, StoreError> {
        if let Some(digest) = self.known_digest(definition) {
            return Ok(digest);
        }
        let digest = definition.digest();
        if self.lock().by_digest.contains_key(&digest) {
            // It was read from the store, or written to it.
            self.remember(&digest, definition.clone());
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
        let known = self.lock().by_digest.get(digest).cloned();
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

    /// Of equal ones, the last is kept: it is the one that is submitted.
    fn remember(&self, digest: &str, definition: Arc<Definition>) {
        let mut known = self.lock();
        let at = place(&definition);
        if let Some(before) = known.by_digest.insert(digest.to_owned(), definition) {
            known.digests.remove(&place(&before));
        }
        known.digests.insert(at, digest.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a definition is.
fn place(definition: &Arc<Definition>) -> usize {
    Arc::as_ptr(definition).addr()
}
