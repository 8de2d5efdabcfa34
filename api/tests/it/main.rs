//! Integration tests: the rules of the house, the documentation, and the binary from outside.

mod boundaries;
mod browser;
mod chance;
mod cli;
mod conformance;
mod crash;
mod docs;
mod ffmpeg;
mod full;
mod history;
mod http;
mod kill;
mod plans;
mod product;
mod repository;
mod reuse;
mod s3;
mod soak;
mod sources;
