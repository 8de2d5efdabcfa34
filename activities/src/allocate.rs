//! `media.allocate`: under which name a run publishes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::ObjectError;

use crate::keys;

/// How often the next generation may be somebody else's before it is given up: as many jobs would
/// have to begin on one medium within moments.
const CLAIMS: usize = 100;

/// More than the id of a run has.
const MAX_NAME_BYTES: usize = 256;

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
#[schemars(extend("x-telecine-place" = true))]
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
        let generation = allocate(ctx, &hash).await?;
        Ok(Allocation {
            prefix: keys::generation(&hash, generation),
            hash,
            generation,
        })
    }
}

/// A generation that the database gives to this run, and the store to nobody else.
///
/// Databases of other data directories number the generations of one store as well. Whoever is
/// first to put his name into one has it.
async fn allocate(ctx: &Context, hash: &str) -> Result<u64, ActivityError> {
    let claimed = claim_next(ctx, hash).await?;
    let above = claimed - 1;
    let generation = ctx.allocate_generation(hash, above, None).await?;
    // An earlier attempt had one already, or the database remembers higher ones than the store. The
    // claim that was not needed stays, as that of a job that fails does: an attempt that was taken for
    // dead and removed it later might remove that of another job.
    if generation != u64::from(claimed) && !claim(ctx, hash, generation).await? {
        return Err(taken(hash, generation));
    }
    // Only now is it certain that nobody else writes there.
    let place = keys::all_generations(hash);
    ctx.allocate_generation(hash, above, Some(&place)).await
}

/// Claims the generation above all that the store holds anything of.
async fn claim_next(ctx: &Context, hash: &str) -> Result<u32, ActivityError> {
    let mut next = 0;
    for _ in 0..CLAIMS {
        let highest = highest_stored(ctx, hash).await?;
        // An attempt of this run may have ended before it could say so. It may also be about to take
        // back its sign, so this one makes its own.
        let is_own = is_own(ctx, &keys::claim(hash, highest.into())).await?;
        if is_own && claim(ctx, hash, highest.into()).await? {
            return Ok(highest);
        }
        next = highest + 1;
        if claim(ctx, hash, next.into()).await? {
            return Ok(next);
        }
    }
    Err(taken(hash, next.into()))
}

/// Whether a generation belongs to this run now.
async fn claim(ctx: &Context, hash: &str, generation: u64) -> Result<bool, ActivityError> {
    let key = keys::claim(hash, generation);
    let name = ctx.run_id().as_bytes();
    match ctx.media().put_new(&key, name.to_vec().into()).await {
        Ok(new) => Ok(new || is_own(ctx, &key).await?),
        Err(ObjectError::NoConditionalWrites { .. }) => claim_alone(ctx, &key).await,
        Err(error) => Err(error.into()),
    }
}

/// As [`claim`], in a store that cannot tell who was first: whoever sees no claim but his own after he
/// has made it has the generation. Of two at once neither has, since each made his own before he looked.
/// That needs no more than lists which show what was written before they were asked for.
async fn claim_alone(ctx: &Context, key: &str) -> Result<bool, ActivityError> {
    let own = signed(ctx, key);
    let media = ctx.media();
    media.put_bytes(&own, Default::default()).await?;
    let is_alone = is_alone(ctx, key).await?;
    if !is_alone {
        media.delete(&own).await?;
    }
    Ok(is_alone)
}

async fn is_alone(ctx: &Context, claim: &str) -> Result<bool, ActivityError> {
    let claims = ctx.media().list(claim).await?;
    let own = format!("{claim}.{}.", ctx.run_id());
    Ok(!claims.is_empty() && claims.iter().all(|(key, _)| key.starts_with(&own)))
}

/// The claim that no other attempt makes, and whose run can be told.
fn signed(ctx: &Context, claim: &str) -> String {
    format!("{claim}.{}.{}", ctx.run_id(), ctx.attempt_tag())
}

async fn is_own(ctx: &Context, claim: &str) -> Result<bool, ActivityError> {
    match ctx.media().read_range(claim, 0, MAX_NAME_BYTES).await {
        Ok(owner) => Ok(owner == ctx.run_id().as_bytes()),
        Err(ObjectError::NotFound { .. }) => is_alone(ctx, claim).await,
        Err(error) => Err(error.into()),
    }
}

fn taken(hash: &str, generation: u64) -> ActivityError {
    let message = format!(
        "generation {generation} of {hash} was claimed by a job of another data directory; \
         begin a new job with --new"
    );
    ActivityError::config("generation_taken", message)
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
