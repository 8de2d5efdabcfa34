//! Histories driven by seeded chance: thousands a second, each reproduced by its seed. A [`World`] is one
//! run, folded by the real machine; so is [`Planned`], whose plans meet a world that moves. A [`Fleet`] is several processes on one database, with the real
//! committer, the real services and what can go wrong between them.

mod audit;
mod fleet;
mod graph;
mod model;
mod plans;
mod random;
pub mod stream;
mod world;

pub use audit::States;
pub use fleet::{Fleet, Told};
pub use graph::{definition, definition_with_inputs, redefined};
pub use model::Model;
pub use plans::{Planned, PlannedReport};
pub use random::Random;
pub use world::{Report, World};
