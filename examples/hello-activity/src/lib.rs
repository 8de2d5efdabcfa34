//! `hello.greet`: writes a greeting card for each guest, and goes on where it was when it is killed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{Activity, ActivityError, Artifact, Context, Progress};

/// See the module.
#[derive(Debug)]
pub struct Greet;

/// What the step's `with` must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Who is greeted.
    #[schemars(length(min = 1, max = 1000))]
    guests: Vec<String>,
}

/// What other steps see as `steps.NAME.output`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// One card for each guest, in the order of the guests.
    cards: Vec<Artifact>,
}

impl Activity for Greet {
    const NAME: &'static str = "hello.greet";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Writes a greeting card for each guest.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, ActivityError> {
        // What an earlier attempt had made before it was killed or its worker shut down.
        let mut cards: Vec<Artifact> = ctx.checkpoint()?.unwrap_or_default();
        for (n, guest) in input.guests.iter().enumerate().skip(cards.len()) {
            if guest.trim().is_empty() {
                let message = format!("guest {n} has no name; give every guest one");
                return Err(ActivityError::input("nameless_guest", message));
            }
            // The tag makes the name this attempt's own: nobody else can overwrite the object.
            let key = format!("cards/{n:03}_{}.txt", ctx.attempt_tag());
            let card = format!("Hello, {guest}!\n");
            cards.push(ctx.put_bytes(&key, card, "text/plain").await?);
            ctx.save(&cards).await?;
            ctx.progress(Progress::of(cards.len() as u64, input.guests.len() as u64));
            ctx.check_stop()?;
        }
        Ok(Output { cards })
    }
}
