//! telecine as a library: write activities, and build a program that runs them.
//!
//! A program of your own has all of telecine's commands, its built-in activities and workflows,
//! and yours:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use telecine::App;
//! use telecine::activity::{Activity, ActivityError, Context};
//!
//! #[derive(Debug, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Input {
//!     /// Who is greeted.
//!     name: String,
//! }
//!
//! #[derive(Debug, Serialize, JsonSchema)]
//! struct Output {
//!     text: String,
//! }
//!
//! #[derive(Debug)]
//! struct Hello;
//!
//! impl Activity for Hello {
//!     const NAME: &'static str = "hello.greet";
//!     const VERSION: u32 = 1;
//!     const DESCRIPTION: &'static str = "Greets somebody by name.";
//!     type Input = Input;
//!     type Output = Output;
//!
//!     async fn run(&self, _ctx: &Context, input: Input) -> Result<Output, ActivityError> {
//!         Ok(Output { text: format!("hello, {}", input.name) })
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     App::builder()
//!         .activity(Hello)
//!         .workflow("
//! workflow: hello:world
//! version: 1
//! input: {type: object, required: [name], properties: {name: {type: string}}}
//! steps:
//!   greet: {activity: hello.greet@1, with: {name: '${{ input.name }}'}}
//! output: {text: '${{ steps.greet.output.text }}'}
//! ")
//!         .run()
//! }
//! ```
//!
//! * [`activity`] is what an activity is made of: the trait, its context, its errors.
//! * [`tool`] runs code that may crash, hang or be attacked in a child process.
//! * [`media`] reads and writes pictures and video safely, and has the types of the built-in steps.
//! * [`testing`] is what an activity is tested with.
//! * [`App::builder`] puts a program together.

pub mod activity;
mod app;
mod auth;
mod builder;
mod bulk;
mod changes;
mod cli;
mod config;
mod cursor;
mod document;
mod error;
mod fresh;
mod loopback;
mod machine;
pub mod media;
mod metrics;
mod openapi;
mod proofs;
mod router;
mod routes;
mod server;
mod shift;
pub mod testing;
pub mod tool;
mod trace;

pub use app::App;
pub use builder::AppBuilder;
