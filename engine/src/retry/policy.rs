//! Whether and when a failed step is tried again by itself.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::definition::{Backoff, Expr, Jitter, RetryPolicy, RetryRule, Scope};
use crate::id::StepId;
use crate::run::{Failure, Step};

/// The code of a disk, a quota or a database that is full.
pub(crate) const DISK_FULL: &str = "disk_full";

/// The code of a file or a directory that may not be read or written.
pub(crate) const PERMISSION_DENIED: &str = "permission_denied";

/// The code of a source that is not the one any more that the run was submitted with.
pub(crate) const SOURCE_CHANGED: &str = "source_changed";

/// The code of an object that a step needs and that is not in its store.
pub(crate) const OBJECT_MISSING: &str = "object_missing";

/// The code of an object that its store cannot give at once.
pub(crate) const OBJECT_ARCHIVED: &str = "object_archived";

/// Codes of class `config` whose cause is in the definition or the input of the job, which never change:
/// an expression, what a step is given, how much of it there is, and a generation that another job has
/// claimed.
pub(crate) const PART_OF_THE_JOB: [&str; 4] = [
    "bad_expression",
    "bad_activity_input",
    "limit_exceeded",
    "generation_taken",
];

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
    // No rule can make bad media or a bad set-up pass.
    if !error.class.is_retryable() || step.charged >= policy.max_attempts {
        return Verdict::GiveUp;
    }
    let facts = json!({"class": error.class, "code": error.code, "message": error.message});
    let holds = |condition: &Expr| {
        // A condition that cannot be evaluated does not hold: its mistake must not retry for ever.
        condition
            .eval_bool(&Scope::new().error(&facts).attempt(step.charged))
            .unwrap_or(false)
    };
    let rule = policy
        .rules
        .iter()
        .find(|rule| applies(rule, error, &holds));
    let wanted = match rule {
        // Room is made by people, in minutes at best: four attempts in a row would meet the same full
        // disk and decode the same minutes of video. Only who names the code wants that.
        _ if error.code == DISK_FULL => rule.is_some_and(|rule| rule.retry && names_code(rule)),
        Some(rule) => rule.retry,
        None => policy.when.as_ref().is_none_or(holds),
    };
    if !wanted {
        return Verdict::GiveUp;
    }
    Verdict::Retry {
        after: delay(&policy.backoff, step, seed),
        set: rule
            .map(|rule| rule.set.clone().into_iter().collect())
            .unwrap_or_default(),
    }
}

fn names_code(rule: &RetryRule) -> bool {
    rule.code.is_some()
}

fn applies(rule: &RetryRule, error: &Failure, holds: &impl Fn(&Expr) -> bool) -> bool {
    rule.class.is_none_or(|class| class == error.class)
        && rule.code.as_ref().is_none_or(|code| *code == error.code)
        && rule.when.as_ref().is_none_or(holds)
}

/// The pause before the next attempt: exponential in the attempts charged, with full jitter drawn
/// from a hash of run, step and attempt, so that a plan can print it exactly.
#[must_use]
pub fn delay(backoff: &Backoff, step: &Step, seed: &str) -> Duration {
    pause(backoff, (&step.id, step.charged, step.attempts), seed)
}

/// The same of a step that was charged so many attempts in this round and has made so many in all.
pub(crate) fn pause(
    backoff: &Backoff,
    (step, charged, made): (&StepId, u32, u32),
    seed: &str,
) -> Duration {
    let exponent = i32::try_from(charged.saturating_sub(1)).unwrap_or(i32::MAX);
    let ceiling = (backoff.initial.as_secs_f64() * backoff.factor.powi(exponent))
        .min(backoff.max.as_secs_f64());
    let share = match backoff.jitter {
        Jitter::None => 1.0,
        Jitter::Full => share(&format!("{seed}/{step}/{made}")),
    };
    Duration::try_from_secs_f64(ceiling * share).unwrap_or(backoff.max)
}

/// A number in [0, 1) that depends on the text alone.
fn share(text: &str) -> f64 {
    let digest = Sha256::digest(text.as_bytes());
    let bits = digest
        .iter()
        .take(4)
        .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
