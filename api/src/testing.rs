//! Tests of activities: a [`Stage`] runs one quickly, a [`Check`] runs it for real and breaks it.
//!
//! ```
//! # use schemars::JsonSchema;
//! # use serde::{Deserialize, Serialize};
//! # use telecine::activity::{Activity, ActivityError, Context};
//! # #[derive(Debug, Deserialize, JsonSchema)]
//! # struct Input { name: String }
//! # #[derive(Debug, Serialize, JsonSchema)]
//! # struct Output { text: String }
//! # #[derive(Debug)]
//! # struct Hello;
//! # impl Activity for Hello {
//! #     const NAME: &'static str = "hello.greet";
//! #     const VERSION: u32 = 1;
//! #     const DESCRIPTION: &'static str = "Greets somebody by name.";
//! #     type Input = Input;
//! #     type Output = Output;
//! #     async fn run(&self, _: &Context, input: Input) -> Result<Output, ActivityError> {
//! #         Ok(Output { text: format!("hello, {}", input.name) })
//! #     }
//! # }
//! use serde_json::json;
//! use telecine::testing::Stage;
//!
//! let made = Stage::new().run(Hello, json!({"name": "world"})).unwrap();
//! assert_eq!(made.output["text"], "hello, world");
//! ```

mod check;
pub(crate) mod rehearsal;
mod stage;

pub(crate) use check::LONGEST;
pub use check::{Check, CheckError, Finding, Report, Trial};
pub use stage::{Performance, Stage};
