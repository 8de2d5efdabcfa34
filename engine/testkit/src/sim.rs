//! Histories driven by seeded chance: thousands a second, each reproduced by its seed. A [`World`] is one
//! run, folded by the real machine. A [`Fleet`] is several processes on one database, with the real
//! committer, the real services and what can go wrong between them.

mod audit;
mod fleet;
mod graph;
mod model;
mod random;
pub mod stream;
mod world;

pub use audit::States;
pub use fleet::{Fleet, Told};
pub use graph::definition;
pub use model::Model;
pub use random::Random;
pub use world::{Report, World};
