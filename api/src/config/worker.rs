use telecine_engine::definition::units;

use super::{MAX_CONCURRENCY, Reader};
use crate::machine;

/// What a worker may use besides its slots.
#[derive(Debug)]
pub(crate) struct WorkerConfig {
    /// Slots for steps of the queue `video:large` and no others; without any they share the others.
    pub(crate) large_concurrency: usize,
    /// Jobs on sources of this size or more wait in that queue.
    pub(crate) large_file_bytes: u64,
    /// Memory that steps may ask for; unknown for as much as they like.
    pub(crate) memory_bytes: Option<u64>,
    /// Graphics processors.
    pub(crate) gpus: usize,
}

impl WorkerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let large_concurrency = reader.read("large_worker_concurrency", || "1".to_owned(), count);
        let large_file_bytes = reader.read("large_file_threshold", || "5GiB".to_owned(), size);
        let memory = || machine::memory().map_or_else(String::new, |bytes| format!("{bytes}B"));
        let memory_bytes = reader.read("worker_memory", memory, optional_size);
        let gpus = reader.read("worker_gpus", || "0".to_owned(), count);
        Some(Self {
            large_concurrency: large_concurrency?,
            large_file_bytes: large_file_bytes?,
            memory_bytes: memory_bytes?,
            gpus: gpus?,
        })
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 0..=MAX_CONCURRENCY) => Ok(count),
        _ => Err(format!(
            "`{text}` is not a number from 0 to {MAX_CONCURRENCY}"
        )),
    }
}

fn size(text: &str) -> Result<u64, String> {
    units::parse_size(text).map_err(|error| error.to_string())
}

fn optional_size(text: &str) -> Result<Option<u64>, String> {
    match text {
        "" => Ok(None),
        text => size(text).map(Some),
    }
}
