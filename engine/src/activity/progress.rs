use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How far an attempt is. `counter` is what stall detection watches; the rest is for people.
///
/// Fields may be added: build it with [`Progress::of`] or `..Progress::default()`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// A monotone count of work done in any unit (frames, bytes, media nanoseconds).
    /// As long as it grows the attempt is alive.
    pub counter: u64,
    /// 0 to 100, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Media time reached, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_s: Option<f64>,
    /// Frames per second of wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Media seconds per wall second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Seconds until this step is done, if it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<f64>,
}

impl Progress {
    /// `done` of `total` pieces of work.
    #[must_use]
    pub fn of(done: u64, total: u64) -> Self {
        Self {
            counter: done,
            percent: (total > 0).then(|| done.min(total) as f64 / total as f64 * 100.0),
            ..Self::default()
        }
    }
}

/// What an attempt used, added up over its child processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system CPU time, in seconds.
    pub cpu_s: f64,
    /// The largest resident set of any one process, in bytes.
    pub max_rss_bytes: u64,
    /// Processors of the machine that it ran on, as far as it may use them: attempts on machines of another
    /// class say less of how long the next one takes. `None` if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
}

impl Usage {
    /// Adds another process on the same machine: CPU adds up, memory takes the larger.
    pub fn add(&mut self, other: Self) {
        self.cpu_s += other.cpu_s;
        self.max_rss_bytes = self.max_rss_bytes.max(other.max_rss_bytes);
        self.processors = self.processors.or(other.processors);
    }
}

/// Where an attempt's last progress stands, and when its counter last grew.
/// Reporting is cheap (one uncontended lock, nothing is written to a store), so report freely.
#[derive(Debug)]
pub struct ProgressCell {
    inner: Mutex<(Progress, Instant)>,
}

impl Default for ProgressCell {
    fn default() -> Self {
        Self {
            inner: Mutex::new((Progress::default(), Instant::now())),
        }
    }
}

impl ProgressCell {
    /// Replaces the progress. A counter that does not grow leaves the stall clock running.
    pub fn report(&self, progress: Progress) {
        let mut inner = self.lock();
        if progress.counter > inner.0.counter {
            inner.1 = Instant::now();
        }
        let counter = progress.counter.max(inner.0.counter);
        inner.0 = Progress {
            counter,
            ..progress
        };
    }

    /// Forgets all progress: what comes counts from 0, and gets the time that a beginning gets.
    pub(crate) fn begin_anew(&self) {
        *self.lock() = (Progress::default(), Instant::now());
    }

    /// The last progress.
    #[must_use]
    pub fn get(&self) -> Progress {
        self.lock().0
    }

    /// How long the counter has stood still.
    #[must_use]
    pub fn idle(&self) -> std::time::Duration {
        self.lock().1.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Progress, Instant)> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_grows_from_nought() {
        let cell = ProgressCell::default();
        cell.report(Progress::of(7_000, 10_000));
        cell.begin_anew();
        assert_eq!(cell.get(), Progress::default());
        let began = cell.lock().1;
        cell.report(Progress::of(1, 20));
        assert!(cell.lock().1 > began, "it moves");
    }

    #[test]
    fn a_counter_that_falls_back_keeps_its_highest_value() {
        let cell = ProgressCell::default();
        cell.report(Progress {
            counter: 10,
            ..Progress::default()
        });
        cell.report(Progress {
            counter: 4,
            percent: Some(5.0),
            ..Progress::default()
        });
        assert_eq!(
            cell.get(),
            Progress {
                counter: 10,
                percent: Some(5.0),
                ..Progress::default()
            }
        );
    }
}
