//! SHA-256 of a file, beside other work on it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::tool::ToolError;

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How far a hash is, and whether it is still wanted.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    /// Bytes read so far.
    pub(super) read: AtomicU64,
    /// Set to give up.
    pub(super) stop: AtomicBool,
}

impl Hashing {
    /// Hashes a file; `None` if it was stopped.
    ///
    /// # Errors
    /// The classes of [`ToolError::io`].
    pub(super) fn run(&self, source: &Path) -> Result<Option<String>, ToolError> {
        let failed = |error| ToolError::io("read the source", error);
        let mut file = File::open(source).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; BLOCK_BYTES];
        while !self.stop.load(Ordering::Relaxed) {
            let bytes = file.read(&mut block).map_err(failed)?;
            if bytes == 0 {
                return Ok(Some(hex(&hash.finalize())));
            }
            hash.update(&block[..bytes]);
            self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Ok(None)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
