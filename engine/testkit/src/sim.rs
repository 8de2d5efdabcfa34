//! A run in memory, folded by the real machine and driven by seeded chance: thousands of
//! histories a second, each reproduced by its seed.

mod model;
mod random;
mod world;

pub use model::Model;
pub use random::Random;
pub use world::{Report, World};
