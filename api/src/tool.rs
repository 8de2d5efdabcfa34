//! Runs dangerous code in a child process, as the built-in activities run media libraries.
//!
//! A segfault, a runaway or a hostile file then costs one attempt, never the worker. Implement
//! [`Tool`], add it with [`AppBuilder::tool`](crate::AppBuilder::tool), and give the activity
//! that drives it the [`ToolHost`] that [`AppBuilder::activity_with`](crate::AppBuilder::activity_with)
//! hands out:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use telecine::App;
//! use telecine::activity::{Activity, ActivityError, Context};
//! use telecine::tool::{Emitter, Limits, Tool, ToolError, ToolHost};
//!
//! /// Runs in the child: blocking, and free to crash.
//! struct Count;
//!
//! impl Tool for Count {
//!     const NAME: &'static str = "count";
//!     type Spec = u64;
//!     type Event = ();
//!     type Output = u64;
//!
//!     fn run(up_to: u64, _emit: &Emitter<()>) -> Result<u64, ToolError> {
//!         Ok((0..up_to).sum())
//!     }
//! }
//!
//! #[derive(Debug, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Input {
//!     up_to: u64,
//! }
//!
//! #[derive(Debug, Serialize, JsonSchema)]
//! struct Output {
//!     sum: u64,
//! }
//!
//! /// Runs in the worker, and drives the tool.
//! #[derive(Debug)]
//! struct Sum {
//!     host: ToolHost,
//! }
//!
//! impl Activity for Sum {
//!     const NAME: &'static str = "numbers.sum";
//!     const VERSION: u32 = 1;
//!     const DESCRIPTION: &'static str = "Adds numbers up.";
//!     type Input = Input;
//!     type Output = Output;
//!
//!     async fn run(&self, ctx: &Context, input: Input) -> Result<Output, ActivityError> {
//!         let sum = self.host.run::<Count>(ctx, input.up_to, Limits::SMALL).await?;
//!         Ok(Output { sum })
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     App::builder()
//!         .tool::<Count>()
//!         .activity_with(|host| Sum { host: host.clone() })
//!         .run()
//! }
//! ```

pub use telecine_activities::child::{Heard, Limits, Running, ToolHost};
pub use telecine_activities::tool::{Emitter, Message, Tool, ToolError, run_in_process};
