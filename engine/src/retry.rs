//! How the engine tries again by itself ([`policy`]), and what trying a stopped run again would
//! do ([`plan`]).

pub mod plan;
pub mod policy;
