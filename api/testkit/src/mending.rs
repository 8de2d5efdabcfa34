//! An activity that makes again what was lost, or breaks a rule of that.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{Activity, ActivityError, Artifact, Context};

/// How many objects it makes.
const PAGES: u32 = 3;

/// `mending.pages@1`.
#[derive(Debug)]
pub(crate) struct Mending;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Nothing.
    Behave,
    MakeAllAgain,
    LeaveIt,
    GiveUp,
    SaveNothing,
}

/// Input of [`Mending`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    how: How,
}

/// Output of [`Mending`], and its checkpoint.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Pages {
    /// By number.
    pages: BTreeMap<u32, Artifact>,
}

impl Activity for Mending {
    const NAME: &'static str = "mending.pages";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes pages, and lost ones again.";
    const MENDS: bool = true;
    type Input = Input;
    type Output = Pages;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Pages, ActivityError> {
        let mut made: Pages = ctx.checkpoint()?.unwrap_or_default();
        forget(&mut made, ctx.damaged(), input.how)?;
        for page in 1..=PAGES {
            if made.pages.contains_key(&page) {
                continue;
            }
            let key = format!("page_{page}_{}", ctx.attempt_tag());
            let object = ctx.put_bytes(&key, format!("{page}"), "text/plain").await?;
            made.pages.insert(page, object);
            if input.how != How::SaveNothing {
                ctx.save(&made).await?;
                ctx.check_stop()?;
            }
        }
        Ok(made)
    }
}

/// Leaves out what is to be made again.
fn forget(made: &mut Pages, damaged: &[String], how: How) -> Result<(), ActivityError> {
    match how {
        How::MakeAllAgain if !damaged.is_empty() => made.pages.clear(),
        How::GiveUp if !damaged.is_empty() => {
            let message = "it cannot go on without its objects";
            return Err(ActivityError::input("object_lost", message));
        }
        How::LeaveIt => {}
        _ => made
            .pages
            .retain(|_, object| !damaged.contains(&object.key)),
    }
    Ok(())
}
