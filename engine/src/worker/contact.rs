use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Without news for longer than this, nobody knows whether the database could be reached in between.
/// Beats come every 2.5 s, and an outage that lets a lease of 7.5 s run out lasts 5 s at least.
const SILENCE: Duration = Duration::from_secs(4);

/// Since when a process has been able to reach the database without a break. A lease that ran out says
/// little about its session if nobody could have renewed it: an outage, or a machine that was asleep
/// with everything on it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Contact(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Contact {
    /// The database has answered.
    pub fn made(&self) {
        let now = clock::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unbroken = state.last.is_some_and(|last| now - last <= SILENCE);
        if !unbroken || state.since.is_none() {
            state.since = Some(now);
        }
        state.last = Some(now);
    }

    /// The database has not answered.
    pub fn broken(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
    }

    /// How long there has been contact up to now.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        let now = clock::now();
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.since, state.last) {
            (Some(since), Some(last)) if now - last <= SILENCE => now - since,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(2500);

    async fn beat(contact: &Contact, times: u32) {
        for _ in 0..times {
            clock::sleep(BEAT).await;
            contact.made();
        }
    }

    #[test]
    fn contact_lasts_from_the_first_answer_after_a_break() {
        let done = clock::simulate(async {
            let contact = Contact::default();
            assert_eq!(contact.lasted(), Duration::ZERO);
            contact.made();
            beat(&contact, 4).await;
            assert_eq!(contact.lasted(), 4 * BEAT);
            contact.broken();
            assert_eq!(contact.lasted(), Duration::ZERO);
            beat(&contact, 3).await;
            assert_eq!(contact.lasted(), 2 * BEAT);
        });
        done.unwrap();
    }

    #[test]
    fn a_process_that_stood_still_does_not_know_what_it_missed() {
        let done = clock::simulate(async {
            let contact = Contact::default();
            contact.made();
            beat(&contact, 4).await;
            clock::sleep(Duration::from_secs(60)).await;
            assert_eq!(contact.lasted(), Duration::ZERO);
            contact.made();
            assert_eq!(contact.lasted(), Duration::ZERO);
            beat(&contact, 1).await;
            assert_eq!(contact.lasted(), BEAT);
        });
        done.unwrap();
    }
}
