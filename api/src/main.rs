//! telecine
fn main() {}
