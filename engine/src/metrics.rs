//! Every metric of the engine: name, unit, help. What they are recorded to is the business of the
//! program: without a recorder they cost next to nothing.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are distributed, with the upper bounds of the buckets.
    Histogram(&'static [f64]),
}

/// Times of single operations, 0.5 ms to 10 s.
pub const OPERATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Times of attempts, 0.1 s to a day: encoding a film takes hours.
pub const HOURS: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
];

/// Numbers of things that are done together.
pub const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A metric, as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `telecine_{thing}_{unit or total}`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Declares the metrics and the list of them.
macro_rules! metrics {
    ($($name:ident = $text:literal, $kind:expr, $labels:expr, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                name: $text,
                kind: $kind,
                labels: &$labels,
                help: $help,
            };
        )+

        /// Every metric of the engine.
        pub const ALL: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    COMMITS = "telecine_commits_total", Kind::Counter, ["result"],
        "Transactions of the committer: `ok`, `again` (another one came in between), `failed`.";
    COMMIT_SECONDS = "telecine_commit_seconds", Kind::Histogram(OPERATIONS), [],
        "How long a transaction of the committer took.";
    COMMIT_REQUESTS = "telecine_commit_requests", Kind::Histogram(BATCHES), [],
        "Requests that were folded into one transaction.";
    COMMIT_QUEUE = "telecine_commit_queue", Kind::Gauge, [],
        "Requests that wait for the committer.";
    JOBS_CREATED = "telecine_jobs_created_total", Kind::Counter, [],
        "Jobs that were submitted here and were new.";
    JOBS_STOPPED = "telecine_jobs_stopped_total", Kind::Counter, ["status"],
        "Jobs that this process's commits stopped: `succeeded`, `failed`, `cancelled`, `held`.";
    STEPS_CLAIMED = "telecine_steps_claimed_total", Kind::Counter, ["queue"],
        "Steps that this process claimed.";
    STEPS_WAITING = "telecine_steps_waiting", Kind::Gauge, ["queue"],
        "Steps in the database that wait for a worker, counted when metrics are asked for.";
    STEPS_UNFIT = "telecine_steps_unfit_total", Kind::Counter, ["queue"],
        "Steps that this process held because no worker could run them.";
    STEPS_WAITING_UNFIT = "telecine_steps_waiting_unfit", Kind::Gauge, ["queue"],
        "Those of the waiting steps that no worker which is there could run.";
    HINTS = "telecine_hints_total", Kind::Counter, ["result"],
        "Hints about waiting steps on Redis: `sent`, `heard`, `failed` (they were told otherwise).";
    WORKER_SLOTS = "telecine_worker_slots", Kind::Gauge, [],
        "Steps that this process runs at a time at most.";
    ATTEMPTS_RUNNING = "telecine_attempts_running", Kind::Gauge, ["activity"],
        "Attempts that this process runs now.";
    ATTEMPTS = "telecine_attempts_total", Kind::Counter, ["activity", "outcome"],
        "Attempts that ended here: `succeeded`, `failed`, `released`, `fenced` (the step went to somebody else); and `lost`: this process ended them, as their worker was gone.";
    ATTEMPT_SECONDS = "telecine_attempt_seconds", Kind::Histogram(HOURS), ["activity"],
        "How long attempts took.";
    LEASE_RENEWALS = "telecine_lease_renewals_total", Kind::Counter, ["result"],
        "Renewals of the session's lease: `ok`, `lost`, `failed` (the database did not answer).";
    LEASE_SECONDS = "telecine_lease_renewal_seconds", Kind::Histogram(OPERATIONS), [],
        "How long a renewal took.";
    SWEEPS = "telecine_sweeps_total", Kind::Counter, ["result"],
        "Looks for sessions of dead processes: `ok`, `failed`.";
    SWEEP_SECONDS = "telecine_sweep_seconds", Kind::Histogram(OPERATIONS), [],
        "How long such a look took.";
    SESSIONS_ENDED = "telecine_sessions_ended_total", Kind::Counter, [],
        "Sessions of dead processes that this process ended.";
    FORGOTTEN = "telecine_jobs_forgotten_total", Kind::Counter, [],
        "Jobs that this process forgot, `retention` after they had stopped.";
    LITTER = "telecine_litter_removed_total", Kind::Counter, [],
        "Objects of killed attempts that this process removed a day after their job had stopped, and uploads in parts to S3 that never ended.";
    TIMERS = "telecine_timers_fired_total", Kind::Counter, ["kind"],
        "Timers that this process fired: `backoff`, `deadline`.";
}
