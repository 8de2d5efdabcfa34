//! A durable step-graph engine and the SDK of its activities.
//!
//! # The model on one page
//!
//! A [`definition`] (a YAML file: steps, what they need, CEL expressions between them) is executed
//! as a [`run`]. A run is rows: its header, a *node* per step of the definition, *steps* (one per
//! node, or one per item of a `for_each`), *attempts* and append-only *events*. Nothing is
//! replayed: what happened is what the rows say.
//!
//! * [`machine`] holds every rule. It is pure: a view of a run and a command in, changed rows out.
//! * [`committer`] folds commands into transactions of the [`store`], the only writer of run state.
//! * [`worker`] claims ready steps, runs their [`activity`], and reports how it ended. Each claim
//!   raises the step's *fence*; each write of an attempt carries it, so that a worker that was
//!   taken for dead can change nothing.
//! * [`queue`] says where steps wait and which of them a worker with room takes next.
//! * [`services`] end the sessions of dead workers and fire timers.
//! * [`coordinator`] is what callers use: submit, cancel, and execute the [retry
//!   plan](retry::plan) of a run that stopped short.
//! * [`objects`] and [`dispatch`] are the ports to object stores and doorbells.
//!
//! Execution is at least once; effects on state, publications and events are exactly once,
//! because every write is fenced.

pub mod activity;
pub mod clock;
pub mod committer;
pub mod coordinator;
pub mod definition;
pub mod definitions;
pub mod dispatch;
pub mod id;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod objects;
mod pulse;
pub mod queue;
pub mod retry;
pub mod reuse;
pub mod run;
pub mod services;
pub mod store;
pub mod worker;
