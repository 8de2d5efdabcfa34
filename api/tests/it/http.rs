//! The HTTP API of the real binary, over real sockets. Every answer is checked against the
//! description that the same server gives of itself.

mod access;
pub(crate) mod client;
mod description;
mod jobs;
mod lists;
pub(crate) mod process;
mod processes;
mod queues;
mod refusals;
mod troubles;
