//! A durable step-graph engine and the SDK of its activities.

pub mod activity;
pub mod objects;
