//! `media.allocate`: under which name a run publishes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::keys;

/// See the module.
#[derive(Debug)]
pub struct Allocate;

/// Input of [`Allocate`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Identity of the media, chosen by the caller: `[0-9a-z]{8,128}`.
    hash: Option<String>,
    /// SHA-256 of the source, hex: the identity if the caller chose none.
    sha256: String,
}

/// The place in the media store that a run writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Identity of the media.
    pub hash: String,
    /// Number of the generation: the same in all attempts of a run, and no other run's.
    pub generation: u64,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    pub prefix: String,
}

impl Activity for Allocate {
    const NAME: &'static str = "media.allocate";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Reserves a generation of a media hash for this run.";
    type Input = Input;
    type Output = Allocation;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Allocation, ActivityError> {
        let hash = input.hash.unwrap_or(input.sha256);
        keys::check_hash(&hash)?;
        let generation = ctx
            .allocate_generation(&hash, highest_stored(ctx, &hash).await?)
            .await?;
        Ok(Allocation {
            prefix: keys::generation(&hash, generation),
            hash,
            generation,
        })
    }
}

/// The highest generation of which the store holds anything; 0 if there is none.
///
/// The database knows better, unless it was restored from a backup or begun anew beside a store
/// that is full: then its next number may be that of a set which readers see.
async fn highest_stored(ctx: &Context, hash: &str) -> Result<u32, ActivityError> {
    let stored = ctx
        .media()
        .list_directories(&keys::generations(hash))
        .await?;
    let numbers = stored
        .iter()
        .filter_map(|set| keys::generation_number(hash, set));
    Ok(numbers.max().unwrap_or_default())
}
