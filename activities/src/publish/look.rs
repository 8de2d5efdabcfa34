//! A last look at what readers are to see, by whoever has copied it to where they see it.

use telecine_engine::activity::{ActivityError, Context};

/// The generation of `name` that readers are to see, after `shown` was copied to where they look.
///
/// An attempt whose step is somebody else's by now has copied too late: the other may be done long
/// since, and nobody would put right what was overwritten. So it looks as well, and only ends once the
/// copies are right.
///
/// # Errors
/// `cancelled` if the step is somebody else's and the copies are right; else what the database says.
pub(crate) async fn again(
    ctx: &Context,
    (name, own): (&str, u64),
    shown: u64,
) -> Result<u64, ActivityError> {
    let refused = match ctx.publish(name, own).await {
        Ok(moved) => return Ok(moved.current),
        Err(error) => error,
    };
    match ctx.publication(name).await {
        Ok(Some(seen)) if seen != shown => Ok(seen),
        _ => Err(refused),
    }
}
