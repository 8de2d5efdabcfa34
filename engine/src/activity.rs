//! What a plugin author writes: an [`Activity`], and what it is given: a [`Context`].
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use telecine_engine::activity::{Activity, ActivityError, Context};
//!
//! #[derive(Debug, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Greeting {
//!     /// Who is greeted.
//!     name: String,
//! }
//!
//! #[derive(Debug, Serialize, JsonSchema)]
//! struct Greeted {
//!     text: String,
//! }
//!
//! #[derive(Debug)]
//! struct Hello;
//!
//! impl Activity for Hello {
//!     const NAME: &'static str = "example.hello";
//!     const VERSION: u32 = 1;
//!     const DESCRIPTION: &'static str = "Greets somebody by name.";
//!     type Input = Greeting;
//!     type Output = Greeted;
//!
//!     async fn run(&self, _ctx: &Context, input: Greeting) -> Result<Greeted, ActivityError> {
//!         Ok(Greeted { text: format!("hello, {}", input.name) })
//!     }
//! }
//!
//! let mut registry = telecine_engine::activity::Registry::default();
//! registry.register(Hello).unwrap();
//! assert!(registry.get("example.hello", 1).is_some());
//! ```

mod checkpoint;
mod context;
mod error;
mod growth;
mod progress;
mod registry;

use std::fmt::Debug;
use std::future::Future;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use checkpoint::differs_in_objects;
pub use checkpoint::{Checkpoint, MediaSpan, compat};
pub(crate) use context::hex;
pub use context::{AttemptPort, Context, ContextParts, PublicationMove, Witness};
pub use error::{ActivityError, ErrorClass};
pub use growth::{Growth, Mismatch};
pub use progress::{Progress, ProgressCell, Usage};
pub use registry::{ActivityInfo, DynActivity, RegisterError, Registry};

/// Code that runs one step of a workflow.
///
/// # Contract
///
/// * An activity may run more than once for the same step (a worker died, a retry): what it
///   leaves behind must make sense when it runs again. Objects go to the store under names that
///   contain [`Context::attempt_tag`], or hold bytes that depend on the input alone.
/// * It resumes from [`Context::checkpoint`] when there is one.
/// * It returns soon after [`Context::cancelled`] resolves; what it returns then is ignored.
/// * It reports [`Context::progress`]: a counter that stands still for the step's `stall` time
///   ends the attempt.
/// * It blocks no thread of the runtime: long computations go to `spawn_blocking`, with a clone of
///   the context for progress, or, for code that can crash, to a child process.
pub trait Activity: Debug + Send + Sync + 'static {
    /// `area.verb`, as workflows name it.
    const NAME: &'static str;
    /// Grows whenever the same input may give another output: earlier outputs are then not reused.
    const VERSION: u32;
    /// One sentence for people.
    const DESCRIPTION: &'static str;
    /// Whether it makes again what was lost: an attempt that is told of [`Context::damaged`] objects
    /// makes those, and takes what else its checkpoint names as it is. The checkpoint has to name
    /// every object of the output, also when the activity has returned. Others run from the start.
    const MENDS: bool = false;
    /// What the step's `with` must be. Deny unknown fields: a typing error is then an error.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// What other steps see as `steps.NAME.output`.
    type Output: Serialize + JsonSchema + Send;

    /// Names the versions of the tools whose change may change the output; part of the reuse key.
    fn tool_fingerprint(&self) -> String {
        String::new()
    }

    /// Runs one attempt.
    fn run(
        &self,
        ctx: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ActivityError>> + Send;
}
