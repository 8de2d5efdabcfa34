//! Whether what was promised was kept.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::plan::{Plan, Trouble};
use super::room::{Workers, time};
use super::site::{Loss, Site};
use super::size::Sizes;
use super::stops::check_told;

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
    retries: usize,
    sizes: Sizes,
    /// What they come to.
    size: String,
    attempts: BTreeMap<String, usize>,
    workers: Workers,
    /// By trouble.
    delays: BTreeMap<(String, Took), Vec<Delay>>,
}

/// What is measured of each attempt whose worker was lost, and of each worker that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Took {
    /// From the loss of the worker to the end of the attempt.
    Noticed,
    /// From the loss to the beginning of the next attempt.
    TakenOver,
    /// The part of that in which nobody had room for the next one.
    NoRoom,
    /// The rest of it.
    ButForRoom,
    /// From the loss to the end of the process, with what that has let run to its end.
    Gone,
    /// From the beginning of an attempt that has saved no checkpoint to the loss: that is done once more.
    Repeated,
    /// From the last checkpoint of one that has: a part of a segment.
    RepeatedSegment,
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noticed => "noticed",
            Self::TakenOver => "taken over",
            Self::NoRoom => "of that without room",
            Self::ButForRoom => "taken over where there was room",
            Self::Gone => "process gone",
            Self::Repeated => "work repeated",
            Self::RepeatedSegment => "work repeated after a checkpoint",
        })
    }
}

/// How long something took, and for which attempt or session.
#[derive(Debug, Clone)]
struct Delay {
    seconds: f64,
    whose: String,
}

impl Verdict {
    /// The next looks may find what an outage has caused.
    pub(super) fn excuse(&mut self) {
        self.excused_until = Some(Instant::now() + EXCUSE);
    }

    /// Looks whether anything runs for nobody.
    pub(super) fn look(&mut self, (plan, site): (&Plan, &Site)) {
        self.sizes.look(site, plan.sample_every());
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
        self.workers.meet(site);
    }

    pub(super) fn judge(&mut self, site: &Site) {
        assert!(self.looks > 0, "nobody has looked");
        self.sizes.sample(site);
        let size = self.sizes.judge();
        self.size = size.unwrap_or_else(|why| panic!("{why}"));
        let documents: Vec<&Value> = site.ended().collect();
        assert_eq!(documents.len(), site.jobs.len());
        self.jobs = documents.len();
        self.retries = site.retries();
        self.workers.learn(site, &documents);
        for document in documents {
            assert_eq!(document["status"], "succeeded", "{document:#}");
            let id = document["id"].as_str().expect("an id");
            let events = history(site, id);
            check_history(id, &events);
            check_told(site, id);
            for step in document["steps"].as_array().expect("steps") {
                self.count(site, (step, &events));
            }
        }
        for loss in &site.losses {
            if let Some(gone) = loss.gone {
                let seconds = (gone - loss.at).as_seconds_f64();
                let session = loss.session.clone().unwrap_or_default();
                self.delay((loss, Took::Gone), (seconds, session));
            }
        }
        check_answers_again(site);
    }

    /// Whether others went on with what killed workers ran as soon as the plan says.
    pub(super) fn check_taken_over(&self, plan: &Plan) {
        let Some(within) = plan.taken_over else {
            return;
        };
        let killed = [Trouble::Kill, Trouble::Replace].map(|trouble| format!("{trouble:?}"));
        let measured = self
            .delays
            .iter()
            .filter(|((trouble, took), _)| *took == Took::ButForRoom && killed.contains(trouble));
        assert!(
            measured.clone().count() > 0,
            "nobody who was killed ran anything"
        );
        for ((trouble, _), times) in measured {
            let p99 = percentile(times, 0.99);
            assert!(
                p99.seconds <= within,
                "{trouble}: {p99:?} is above {within} s"
            );
        }
    }

    fn delay(&mut self, (loss, took): (&Loss, Took), (seconds, whose): (f64, String)) {
        let trouble = format!("{:?}", loss.trouble);
        let delays = self.delays.entry((trouble, took)).or_default();
        delays.push(Delay { seconds, whose });
    }

    fn count(&mut self, site: &Site, (step, events): (&Value, &[Value])) {
        let attempts = step["attempts"].as_array().expect("attempts");
        let of = |outcome| {
            attempts
                .iter()
                .filter(move |it| it["outcome"] == outcome)
                .count()
        };
        // A list of nothing, as the pictures of a song are, is done without anybody.
        let is_done = step["status"] == "succeeded" && step["output"] != Value::Array(Vec::new());
        let effects = usize::from(is_done);
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
            let since = |at: DateTime<Utc>| (at - loss.at).as_seconds_f64();
            let without_room = self.workers.without_room(step, (ended, next));
            let began = time(&pair[0]["started_at"]);
            // One that is given back has been told to stop, and may save what it has meanwhile.
            let until = match pair[0]["outcome"] == "released" {
                true => ended,
                false => loss.at,
            };
            let checkpoint = checkpoint(events, (&step["id"], began, until));
            let repeated = (until - checkpoint.unwrap_or(began)).as_seconds_f64();
            let kind = match checkpoint {
                Some(_) => Took::RepeatedSegment,
                None => Took::Repeated,
            };
            let measured = [
                (kind, repeated),
                (Took::Noticed, since(ended)),
                (Took::TakenOver, since(next)),
                (Took::NoRoom, without_room),
                (Took::ButForRoom, since(next) - without_room),
            ];
            for (took, seconds) in measured {
                let whose = format!("{} after attempt {}", step["id"], pair[0]["n"]);
                self.delay((loss, took), (seconds, whose));
            }
        }
    }
}

/// Of some delays, the one that so large a share of them does not exceed.
fn percentile(of: &[Delay], share: f64) -> Delay {
    let mut sorted = of.to_vec();
    sorted.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    sorted[((sorted.len() - 1) as f64 * share).round() as usize].clone()
}

/// The last checkpoint of a step between two moments.
fn checkpoint(
    events: &[Value],
    (step, from, until): (&Value, DateTime<Utc>, DateTime<Utc>),
) -> Option<DateTime<Utc>> {
    let saved = events
        .iter()
        .filter(|event| event["kind"] == "step.checkpoint" && event["step"] == *step);
    let times = saved.map(|event| time(&event["at"]));
    times.filter(|at| (from..=until).contains(at)).max()
}

fn is_gone(attempt: &Value) -> bool {
    attempt["outcome"] == "lost" || attempt["outcome"] == "released"
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
        for ((trouble, took), times) in &self.delays {
            let p99 = percentile(times, 0.99);
            writeln!(
                f,
                "{trouble}, {took}: {} times, p50 {:.1} s, p99 {:.1} s ({})",
                times.len(),
                percentile(times, 0.5).seconds,
                p99.seconds,
                p99.whose
            )?;
        }
        writeln!(f, "{} looks found nothing that runs for nobody", self.looks)?;
        write!(f, "the database: {}", self.size)
    }
}
