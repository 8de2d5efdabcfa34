//! What a sample is drawn with: chance that can be had again.

use std::process::Command;

use crate::repository::root;

/// `TELECINE_SEED`, or another one with each commit, so that in time everything is tried by the usual suite.
pub(crate) fn seed() -> u64 {
    if let Ok(seed) = std::env::var("TELECINE_SEED") {
        return seed.parse().expect("TELECINE_SEED is a number");
    }
    let git = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(root())
        .output();
    let commit = git.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned());
    // What was unpacked from an archive has no commit.
    commit
        .ok()
        .and_then(|commit| u64::from_str_radix(commit.get(..12)?, 16).ok())
        .unwrap_or(1)
}

/// Numbers that follow from a seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator of Knuth's MMIX; its high bits are good.
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A number below another.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    /// From 0 to less than 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.next() as f64 / f64::from(1_u32 << 31)
    }
}
