//! Media code: tools that run in child processes, and the pure parts they are made of.
