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

/// Every metric of the engine.
pub const ALL: &[Metric] = &[];
