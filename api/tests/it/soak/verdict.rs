//! Whether what was promised was kept.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::site::{Loss, Site};

/// Steps that run though the lease of their session has been over for five seconds.
const OVERDUE: &str = "select count(*)::text from step left join session on session.id = step.session \
    where step.status = 'running' and (session.id is null \
    or session.expires_at < clock_timestamp() - interval '5 s')";
/// After an outage nobody is declared dead before the database was there for a whole lease.
const EXCUSE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Verdict {
    looks: usize,
    excused_until: Option<Instant>,
    jobs: usize,
    retries: u32,
    attempts: BTreeMap<String, usize>,
    /// From the loss of a worker to the end of its attempts, and to the beginning of the next ones.
    noticed: BTreeMap<String, Vec<Delay>>,
    taken_over: BTreeMap<String, Vec<Delay>>,
}

/// How long something took, and for which attempt.
#[derive(Debug, Clone)]
struct Delay {
    seconds: f64,
    attempt: String,
}

impl Verdict {
    /// The next looks may find what an outage has caused.
    pub(super) fn excuse(&mut self) {
        self.excused_until = Some(Instant::now() + EXCUSE);
    }

    /// Looks whether anything runs for nobody.
    pub(super) fn look(&mut self, site: &Site) {
        if self
            .excused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let overdue = site.runtime.block_on(site.database.text(OVERDUE));
        let Some(overdue) = overdue else { return };
        self.looks += 1;
        assert_eq!(overdue, "0", "steps that run for nobody");
    }

    pub(super) fn judge(&mut self, site: &Site) {
        assert!(self.looks > 0, "nobody has looked");
        let documents: Vec<&Value> = site.ended().collect();
        assert_eq!(documents.len(), site.jobs.len());
        self.jobs = documents.len();
        self.retries = site.retries();
        for document in documents {
            assert_eq!(document["status"], "succeeded", "{document:#}");
            let id = document["id"].as_str().expect("an id");
            check_history(id, &history(site, id));
            for step in document["steps"].as_array().expect("steps") {
                self.count(site, step);
            }
        }
        check_answers_again(site);
    }

    fn count(&mut self, site: &Site, step: &Value) {
        let attempts = step["attempts"].as_array().expect("attempts");
        let of = |outcome| {
            attempts
                .iter()
                .filter(move |it| it["outcome"] == outcome)
                .count()
        };
        let effects = usize::from(step["status"] == "succeeded");
        assert_eq!(of("succeeded"), effects, "{step:#}");
        for attempt in attempts {
            let outcome = attempt["outcome"].as_str().unwrap_or("none");
            *self.attempts.entry(outcome.to_owned()).or_default() += 1;
        }
        for pair in attempts.windows(2) {
            let (ended, next) = (time(&pair[0]["ended_at"]), time(&pair[1]["started_at"]));
            let of_attempt = |loss: &&Loss| loss.session.as_deref() == pair[0]["worker"].as_str();
            let loss = site.losses.iter().find(of_attempt);
            let Some(loss) = loss.filter(|_| is_gone(&pair[0])) else {
                continue;
            };
            let delay = |at: DateTime<Utc>| Delay {
                seconds: (at - loss.at).as_seconds_f64(),
                attempt: format!("{} after attempt {}", step["id"], pair[0]["n"]),
            };
            let name = format!("{:?}", loss.trouble);
            self.noticed
                .entry(name.clone())
                .or_default()
                .push(delay(ended));
            self.taken_over.entry(name).or_default().push(delay(next));
        }
    }
}

fn is_gone(attempt: &Value) -> bool {
    attempt["outcome"] == "lost" || attempt["outcome"] == "released"
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("a time, not {value}"));
    text.parse().expect("a time")
}

fn history(site: &Site, job: &str) -> Vec<Value> {
    let first = format!("/api/jobs/{job}/events?limit=1000");
    let (mut events, mut path) = (Vec::new(), first.clone());
    loop {
        let page = site.get(&path).expect("the history can be read");
        events.extend(page["items"].as_array().expect("events").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{first}&cursor={cursor}"),
            None => return events,
        }
    }
}

/// Numbers without gaps, an end that is the last, and each step completed once.
fn check_history(job: &str, events: &[Value]) {
    let mut completed = BTreeMap::new();
    for (event, n) in events.iter().zip(1..) {
        assert_eq!(event["seq"], n, "{job}");
        if event["kind"] == "step.succeeded" {
            let step = event["step"].as_str().expect("a step");
            let before = completed.insert(step.to_owned(), n);
            assert_eq!(before, None, "{job}: {step} was completed twice");
        }
    }
    let last = events.last().expect("a history");
    assert_eq!(last["kind"], "run.succeeded", "{job}");
}

/// Whoever asks again under the same key gets the same job.
fn check_answers_again(site: &Site) {
    let distinct: std::collections::BTreeSet<_> = site.jobs.values().collect();
    assert_eq!(distinct.len(), site.jobs.len(), "two requests got one job");
    let stored = site.database.text("select count(*)::text from run");
    let stored = site.runtime.block_on(stored);
    assert_eq!(stored, Some(site.jobs.len().to_string()), "runs for jobs");
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} jobs succeeded, retried by hand {} times; attempts: {:?}",
            self.jobs, self.retries, self.attempts
        )?;
        for (what, times) in [("noticed", &self.noticed), ("taken over", &self.taken_over)] {
            for (trouble, times) in times {
                let mut sorted = times.clone();
                sorted.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
                let at = |share: f64| &sorted[((sorted.len() - 1) as f64 * share).round() as usize];
                writeln!(
                    f,
                    "{trouble}, {what}: {} times, p50 {:.1} s, p99 {:.1} s ({})",
                    sorted.len(),
                    at(0.5).seconds,
                    at(0.99).seconds,
                    at(0.99).attempt
                )?;
            }
        }
        write!(f, "{} looks found nothing that runs for nobody", self.looks)
    }
}
