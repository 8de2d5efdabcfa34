//! Whether and when a failed step is tried again by itself.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::activity::ErrorClass;
use crate::definition::{Backoff, Expr, Jitter, RetryPolicy, RetryRule, Scope};
use crate::id::StepId;
use crate::limits;
use crate::run::{Failure, Step};

/// The code of a disk, a quota or a database that is full.
pub(crate) const DISK_FULL: &str = "disk_full";

/// The code of a file or a directory that may not be read or written.
pub(crate) const PERMISSION_DENIED: &str = "permission_denied";

/// The code of a source that is not the one any more that the run was submitted with.
pub(crate) const SOURCE_CHANGED: &str = "source_changed";

/// The code of an object that a step needs and that is not in its store.
pub(crate) const OBJECT_MISSING: &str = "object_missing";

/// Codes of class `dependency` that are charged at once: what a service has lost, it does not find again, and a database that
/// is away is waited for before it becomes an error.
const CHARGED: [&str; 3] = ["object_lost", "object_corrupt", "database_unavailable"];

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
        /// Whether the attempt counts against `max_attempts`.
        charged: bool,
    },
    /// Trying again by itself would not help.
    GiveUp,
}

/// Decides what follows when an attempt of a step has failed with `error`. `seed` and the step
/// stand in for chance: the same failure always waits the same time.
#[must_use]
pub fn after_failure(policy: &RetryPolicy, error: &Failure, step: &Step, seed: &str) -> Verdict {
    let is_outage = is_outage(policy, error, step);
    // No rule can make bad media or a bad set-up pass.
    if !error.class.is_retryable() || (step.charged >= policy.max_attempts && !is_outage) {
        return Verdict::GiveUp;
    }
    let facts = json!({"class": error.class, "code": error.code, "message": error.message});
    let holds = |condition: &Expr| {
        // A condition that cannot be evaluated does not hold: its mistake must not retry for ever.
        condition
            .eval_bool(
                &Scope::new()
                    .error(&facts)
                    .attempt(step.charged + step.outages),
            )
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
        after: match is_outage {
            true => outage_pause(&policy.backoff, step, seed),
            false => delay(&policy.backoff, step, seed),
        },
        charged: !is_outage,
        set: rule
            .map(|rule| rule.set.clone().into_iter().collect())
            .unwrap_or_default(),
    }
}

/// Whether a service that the step needs is away, and may still be waited for: a step is not to fail because of what has
/// nothing to do with it. A policy of one attempt wants none again.
fn is_outage(policy: &RetryPolicy, error: &Failure, step: &Step) -> bool {
    error.class == ErrorClass::Dependency
        && !CHARGED.contains(&error.code.as_str())
        && policy.max_attempts > 1
        && step.outages < limits::OUTAGES
}

/// The pause before a service is tried again: exponential in how often it was away.
fn outage_pause(backoff: &Backoff, step: &Step, seed: &str) -> Duration {
    let backoff = Backoff {
        max: backoff.max.min(backoff.initial.max(limits::OUTAGE_PAUSE)),
        ..backoff.clone()
    };
    pause(&backoff, (&step.id, step.outages + 1, step.attempts), seed)
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

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: (ErrorClass, &str) = (ErrorClass::Dependency, "store_unreachable");

    /// What follows when the attempt that was charged as the last one has failed.
    fn last(policy: &RetryPolicy, (class, code): (ErrorClass, &str), outages: u32) -> Verdict {
        let error = Failure {
            class,
            code: code.to_owned(),
            message: String::new(),
            step: None,
        };
        let step = Step {
            attempts: policy.max_attempts + outages,
            charged: policy.max_attempts,
            outages,
            ..Step::pending(StepId::single("a"), "test.act@1".to_owned(), 1)
        };
        after_failure(policy, &error, &step, "seed")
    }

    #[test]
    fn a_service_that_is_away_is_waited_for_without_a_charge() {
        let policy = RetryPolicy::default();
        let mut waited = Duration::ZERO;
        for outages in 0..limits::OUTAGES {
            let Verdict::Retry { after, charged, .. } = last(&policy, AWAY, outages) else {
                panic!("it gave up after {outages}");
            };
            assert!(!charged && after <= limits::OUTAGE_PAUSE, "{after:?}");
            waited += after;
        }
        let minutes = waited.as_secs() / 60;
        assert!((10..=25).contains(&minutes), "{waited:?}");
        assert_eq!(last(&policy, AWAY, limits::OUTAGES), Verdict::GiveUp);
    }

    #[test]
    fn what_does_not_pass_is_charged() {
        let policy = RetryPolicy::default();
        for error in [
            (ErrorClass::Transient, "wanted"),
            (ErrorClass::Dependency, "object_lost"),
            (ErrorClass::Dependency, "object_corrupt"),
            (ErrorClass::Dependency, "database_unavailable"),
        ] {
            assert_eq!(last(&policy, error, 0), Verdict::GiveUp, "{error:?}");
        }
    }

    #[test]
    fn a_policy_that_wants_no_other_attempt_has_none() {
        let once = RetryPolicy {
            max_attempts: 1,
            ..RetryPolicy::default()
        };
        assert_eq!(last(&once, AWAY, 0), Verdict::GiveUp);
        let never = RetryRule {
            class: Some(ErrorClass::Dependency),
            code: None,
            when: None,
            retry: false,
            set: std::collections::BTreeMap::new(),
        };
        let policy = RetryPolicy {
            rules: vec![never],
            ..RetryPolicy::default()
        };
        assert_eq!(last(&policy, AWAY, 0), Verdict::GiveUp);
    }
}
