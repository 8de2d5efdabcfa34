//! Whether the database stays as small as what it is about. What was published is kept for ever, so it may grow with
//! each job, but by as much with the last as with the first; what is only about jobs under way goes with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::site::Site;

/// What the database holds, as JSON: one statement sees all of it at one moment.
const HELD: &str = "select json_build_object( \
    'done', (select count(*) from run where status = 'succeeded'), \
    'in_flight', (select count(*) from step inner join run on run.id = step.run \
        where run.ended_at is null and step.status in ('ready', 'running', 'backoff')), \
    'ready', (select count(*) from ready), \
    'session', (select count(*) from session), \
    'bytes', (select json_object_agg(relname::text, pg_total_relation_size(oid)) from pg_class \
        where relkind = 'r' and relnamespace = current_schema()::regnamespace))::text";

/// Jobs that have to be done in each third that is compared: with fewer, it is single pages that tell.
const JOBS: u64 = 12;
/// How many times as large as in the first third a job may be in the last one.
const GROWTH: f64 = 1.5;

/// A table that is only about what is under way.
struct UnderWay {
    table: &'static str,
    /// What its rows are for.
    of: &'static str,
    /// How many there may be for each of that.
    rows: u64,
    /// How many rows there are, and of what they are for.
    count: fn(&Sample) -> (u64, u64),
}

const UNDER_WAY: [UnderWay; 2] = [
    UnderWay {
        table: "ready",
        of: "steps in flight",
        rows: 1,
        count: |it| (it.held.ready, it.held.in_flight),
    },
    // On a busy machine it takes its time until one that is gone is missed.
    UnderWay {
        table: "session",
        of: "workers that are there or went away just now",
        rows: 2,
        count: |it| (it.held.session, it.workers),
    },
];

/// An answer to [`HELD`].
#[derive(Debug, Clone, Deserialize)]
struct Held {
    /// Jobs that succeeded.
    done: u64,
    /// Steps of jobs under way that can run, run or wait to be tried again.
    in_flight: u64,
    /// Rows of that table.
    ready: u64,
    /// Rows of that table.
    session: u64,
    /// Sizes of all tables, with their indexes.
    bytes: BTreeMap<String, u64>,
}

/// The database at a moment.
#[derive(Debug, Clone)]
struct Sample {
    held: Held,
    /// Workers that it may know of.
    workers: u64,
}

/// The database over the time of a soak.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    samples: Vec<Sample>,
    looked: Option<Instant>,
}

impl Sizes {
    /// Looks at the database if it is time to.
    pub(super) fn look(&mut self, site: &Site, every: Duration) {
        if self.looked.is_none_or(|at| at.elapsed() >= every) {
            self.sample(site);
        }
    }

    /// Looks at the database if it can be reached.
    pub(super) fn sample(&mut self, site: &Site) {
        let Some(held) = site.runtime.block_on(site.database.text(HELD)) else {
            return;
        };
        self.samples.push(Sample {
            held: serde_json::from_str(&held).expect("what was asked for"),
            workers: site.known_workers() as u64,
        });
        self.looked = Some(Instant::now());
    }

    /// The figures.
    ///
    /// # Errors
    /// What is larger than it may be.
    pub(super) fn judge(&self) -> Result<String, String> {
        let rows = rows(&self.samples)?;
        let growth = growth(&self.samples)?;
        Ok(format!(
            "{} looks at its size: {rows}; {growth}",
            self.samples.len()
        ))
    }
}

/// The most rows of what is under way, unless they are too many.
fn rows(samples: &[Sample]) -> Result<String, String> {
    if samples.is_empty() {
        return Err("nobody has looked at the size of the database".to_owned());
    }
    let most_of = |under_way: &UnderWay| {
        let UnderWay { table, of, .. } = under_way;
        let mut most = 0;
        for sample in samples {
            let (rows, there) = (under_way.count)(sample);
            if rows > under_way.rows * there {
                return Err(format!(
                    "{rows} rows in {table} with {there} {of}, of which each has {} at most",
                    under_way.rows
                ));
            }
            most = most.max(rows);
        }
        Ok(format!("at most {most} rows in {table}"))
    };
    let told: Result<Vec<String>, String> = UNDER_WAY.iter().map(most_of).collect();
    Ok(told?.join(", "))
}

/// What each job took in the first third and in the last, unless that is too much more.
fn growth(samples: &[Sample]) -> Result<String, String> {
    // The first job makes the first pages of all tables.
    let samples: Vec<&Held> = samples
        .iter()
        .map(|sample| &sample.held)
        .skip_while(|held| held.done == 0)
        .collect();
    let third = samples.len().saturating_sub(1) / 3;
    let last = samples.len().saturating_sub(1);
    if third == 0 {
        let looks = samples.len();
        return Ok(format!(
            "what a job takes was not compared, there were {looks} looks since the first was done"
        ));
    }
    let first = Growth::from(samples[0], samples[third]);
    let last = Growth::from(samples[last - third], samples[last]);
    let fewest = first.jobs.min(last.jobs);
    if fewest < JOBS {
        return Ok(format!(
            "what a job takes was not compared, in one of the thirds {fewest} were done of {JOBS} that it needs"
        ));
    }
    let told = first.beside(&last);
    match last.total() <= GROWTH * first.total() {
        true => Ok(told),
        false => Err(format!("the database grows more and more: {told}")),
    }
}

/// By how much the database grew in a part of the time.
struct Growth {
    /// Jobs that were done in it.
    jobs: u64,
    /// Bytes for each of them, by table.
    bytes: BTreeMap<String, f64>,
}

impl Growth {
    fn from(from: &Held, to: &Held) -> Self {
        let jobs = to.done.saturating_sub(from.done);
        let of_job = |(table, size): (&String, &u64)| {
            let before = from.bytes.get(table).copied().unwrap_or_default();
            let bytes = *size as f64 - before as f64;
            (table.clone(), bytes / jobs.max(1) as f64)
        };
        Self {
            jobs,
            bytes: to.bytes.iter().map(of_job).collect(),
        }
    }

    fn total(&self) -> f64 {
        self.bytes.values().sum()
    }

    /// The figures of both, table by table.
    fn beside(&self, last: &Self) -> String {
        let tables = last.bytes.iter().filter_map(|(table, now)| {
            let before = self.bytes.get(table).copied().unwrap_or_default();
            let is_still = before == 0.0 && *now == 0.0;
            (!is_still).then(|| format!("{table} {before:.0} and {now:.0}"))
        });
        let tables: Vec<String> = tables.collect();
        format!(
            "each of {} jobs of the first third took {:.0} bytes, each of {} of the last {:.0} ({})",
            self.jobs,
            self.total(),
            last.jobs,
            last.total(),
            tables.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that knows of so many jobs that are done.
    fn sample(done: u64, bytes: u64) -> Sample {
        let held = Held {
            done,
            in_flight: 4,
            ready: 2,
            session: 3,
            bytes: BTreeMap::from([("event".to_owned(), bytes), ("request".to_owned(), 8192)]),
        };
        Sample { held, workers: 2 }
    }

    /// Ten, so many jobs apart, that each take as many bytes as is said of its number.
    fn samples(apart: u64, takes: fn(u64) -> u64) -> Vec<Sample> {
        let sample = |n| sample(n * apart, (1..=n * apart).map(takes).sum());
        (0..10).map(sample).collect()
    }

    #[test]
    fn a_database_that_keeps_as_much_of_each_job_is_flat() {
        let figures = growth(&samples(10, |_| 40_000)).expect("it is flat");
        let expected = "each of 20 jobs of the first third took 40000 bytes, \
                        each of 20 of the last 40000 (event 40000 and 40000)";
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_database_that_keeps_more_of_each_job_than_of_the_one_before_is_found() {
        let why = growth(&samples(15, |job| 40_000 + 1_000 * job)).expect_err("it grows");
        assert!(
            why.starts_with("the database grows more and more: "),
            "{why}"
        );
    }

    #[test]
    fn too_few_jobs_are_not_compared_which_is_told() {
        let told = growth(&samples(1, |job| job * job * 1_000_000)).expect("nothing is known");
        assert!(told.contains("was not compared"), "{told}");
        let told = growth(&samples(10, |_| 0)[..3]).expect("nothing is known");
        assert!(told.contains("was not compared"), "{told}");
    }

    #[test]
    fn rows_of_what_is_over_are_found() {
        let mut samples = samples(10, |_| 40_000);
        assert_eq!(
            rows(&samples),
            Ok("at most 2 rows in ready, at most 3 rows in session".to_owned())
        );
        samples[4].held.ready = 5;
        let why = rows(&samples).expect_err("a ticket of nobody");
        assert!(
            why.starts_with("5 rows in ready with 4 steps in flight"),
            "{why}"
        );
        samples[4].held.ready = 0;
        samples[9].held.session = 5;
        let why = rows(&samples).expect_err("a session of nobody");
        assert!(why.starts_with("5 rows in session with 2 workers"), "{why}");
        assert!(rows(&[]).is_err());
    }
}
