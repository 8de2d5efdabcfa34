//! How the engine tries again by itself ([`policy`]), what trying a stopped run again would do
//! ([`plan`]): computed from what is known of the [`world`] and of its [`history`], changed by [`edits`], also to another
//! definition ([`adoption`]); and when two steps would make the same ([`reuse`]).

pub mod adoption;
pub mod edits;
pub mod history;
pub mod plan;
pub mod policy;
pub mod reuse;
pub mod world;
