//! Whether and when a failed step is tried again by itself.

use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::definition::{Backoff, Jitter, RetryPolicy};
use crate::run::{Failure, Step};

/// What follows a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Try again.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Members of the step's input to change first.
        set: Map<String, Value>,
    },
    /// Trying again by itself would not help.
    GiveUp,
}

/// Decides what follows when an attempt of a step has failed with `error`. `seed` and the step
/// stand in for chance: the same failure always waits the same time.
#[must_use]
pub fn after_failure(policy: &RetryPolicy, error: &Failure, step: &Step, seed: &str) -> Verdict {
    let rule = policy.rules.iter().find(|rule| rule.matches(error, step.charged));
    let wanted = rule.and_then(|rule| rule.retry).unwrap_or_else(|| error.class.is_retryable());
    // No rule can make bad media or a bad set-up pass.
    if !wanted || !error.class.is_retryable() || step.charged >= policy.max_attempts {
        return Verdict::GiveUp;
    }
    Verdict::Retry {
        after: delay(&policy.backoff, step, seed),
        set: rule.map(|rule| rule.set.clone()).unwrap_or_default(),
    }
}

/// The pause before the next attempt: exponential in the attempts charged, with full jitter drawn
/// from a hash of run, step and attempt, so that a plan can print it exactly.
#[must_use]
pub fn delay(backoff: &Backoff, step: &Step, seed: &str) -> Duration {
    let exponent = i32::try_from(step.charged.saturating_sub(1)).unwrap_or(i32::MAX);
    let ceiling = (backoff.initial.as_secs_f64() * backoff.factor.powi(exponent))
        .min(backoff.max.as_secs_f64());
    let share = match backoff.jitter {
        Jitter::None => 1.0,
        Jitter::Full => share(&format!("{seed}/{}/{}", step.id, step.attempts)),
    };
    Duration::try_from_secs_f64(ceiling * share).unwrap_or(backoff.max)
}

/// A number in [0, 1) that depends on the text alone.
fn share(text: &str) -> f64 {
    let digest = Sha256::digest(text.as_bytes());
    let bits = digest.iter().take(4).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
