//! What a plan is computed from beside the run and its definition: what has become of the objects that
//! the run stands on, of its source and of the activities that made them, and how long such steps took
//! before.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::activity::hex;
use crate::retry::reuse::SourceIdentity;
use crate::run::{Attempt, AttemptOutcome, Snapshot, StoreUrls};

/// What a check of an object found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There, with the recorded size.
    Present,
    /// Not there.
    Missing,
    /// There, with another size or other bytes.
    Corrupt,
}

/// Checks of objects, by key. An object without an entry has not been checked.
pub type Verdicts = BTreeMap<String, Verdict>;

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Whether each is there and has its size.
    #[default]
    Heads,
    /// Every byte of each, by its SHA-256.
    Full,
}

/// When and how the objects of a plan were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How closely.
    pub how: Verification,
    /// When.
    pub at: DateTime<Utc>,
    /// How many there are.
    pub objects: u32,
}

/// What has become of the source of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody has looked, or the run has none.
    #[default]
    Unknown,
    /// It is the one that the run was submitted with.
    Same,
    /// Another object has its name.
    Replaced(Identity),
    /// It is not there.
    Gone,
}

/// What makes a run the one that it is, when that moves: another source under the same name, or another
/// definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash over definition, input, stores, and size and etag of the source.
    pub fingerprint: String,
    /// Key of the source, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Size of the source, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What its store says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What tells requests apart: a hash over definition, input, stores, and size and etag of the source, if the
/// input names one.
pub(crate) fn fingerprint(
    (definition, input): (&str, &Value),
    stores: &StoreUrls,
    source: Option<&SourceIdentity>,
) -> String {
    let identity = json!({
        "definition": definition, "input": input, "source": source, "stores": stores,
    });
    hex(&Sha256::digest(identity.to_string().as_bytes()))
}

/// An activity as it is installed where a plan is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Versions of the tools that it uses.
    pub fingerprint: String,
    /// Whether it can make damaged objects again by themselves.
    pub mends: bool,
}

/// How long attempts of an activity took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Half of them took no longer, in seconds.
    pub p50_s: f64,
    /// Nine in ten took no longer, in seconds.
    pub p90_s: f64,
    /// How many ran side by side, on average over the time in which any did; at least 1.
    pub side_by_side: f64,
    /// How many there were.
    pub attempts: u32,
}

/// What is known of earlier runs of the same workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// How many.
    pub runs: u32,
    /// By activity, as `name@version`.
    pub paces: BTreeMap<String, Pace>,
}

impl History {
    /// What the heads of earlier runs say, and a run itself: attempts that succeeded, and among them those
    /// from the start if there are any.
    #[must_use]
    pub fn of(earlier: &[Snapshot], own: &Snapshot) -> Self {
        let mut tries: BTreeMap<&str, Vec<Vec<Try>>> = BTreeMap::new();
        for snapshot in earlier.iter().chain([own]) {
            let mut of_run: BTreeMap<&str, Vec<Try>> = BTreeMap::new();
            for record in &snapshot.steps {
                let made = record.attempts.iter().filter_map(Try::of);
                of_run
                    .entry(&record.step.activity)
                    .or_default()
                    .extend(made);
            }
            for (activity, of_run) in of_run {
                tries.entry(activity).or_default().push(of_run);
            }
        }
        let paces = tries.into_iter();
        let paces = paces.filter_map(|(activity, runs)| Some((activity.to_owned(), pace(&runs)?)));
        Self {
            runs: u32::try_from(earlier.len()).unwrap_or(u32::MAX),
            paces: paces.collect(),
        }
    }
}

/// An attempt that succeeded, by its beginning and its end.
#[derive(Debug, Clone, Copy)]
struct Try {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    resumed: bool,
}

impl Try {
    fn of(attempt: &Attempt) -> Option<Self> {
        let succeeded = attempt.outcome == Some(AttemptOutcome::Succeeded);
        let to = attempt.ended_at.filter(|_| succeeded)?;
        Some(Self {
            from: attempt.started_at,
            to,
            resumed: attempt.resumed_from.is_some(),
        })
    }

    fn wall_s(&self) -> f64 {
        (self.to - self.from).as_seconds_f64().max(0.0)
    }
}

/// How long attempts of one activity took, by run. `None` if there were none.
fn pace(runs: &[Vec<Try>]) -> Option<Pace> {
    let all = || runs.iter().flatten();
    let whole: Vec<f64> = all().filter(|it| !it.resumed).map(Try::wall_s).collect();
    let mut walls = match whole.is_empty() {
        true => all().map(Try::wall_s).collect(),
        false => whole,
    };
    walls.sort_by(f64::total_cmp);
    let (worked, elapsed) = runs.iter().fold((0.0, 0.0), |(worked, elapsed), of_run| {
        let from = of_run.iter().map(|it| it.from).min();
        let to = of_run.iter().map(|it| it.to).max();
        let span = from
            .zip(to)
            .map_or(0.0, |(from, to)| (to - from).as_seconds_f64());
        (
            worked + of_run.iter().map(Try::wall_s).sum::<f64>(),
            elapsed + span,
        )
    });
    let side_by_side = if elapsed > 0.0 { worked / elapsed } else { 1.0 };
    Some(Pace {
        p50_s: quantile(&walls, 50)?,
        p90_s: quantile(&walls, 90)?,
        side_by_side: side_by_side.max(1.0),
        attempts: u32::try_from(walls.len()).unwrap_or(u32::MAX),
    })
}

/// The least of sorted values that so many percent of them do not exceed.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

/// What is known of the world when a plan is computed.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What has become of objects.
    pub verdicts: Verdicts,
    /// When and how that was looked at.
    pub verified: Option<Verified>,
    /// What has become of the source.
    pub source: Source,
    /// The source as it was found.
    pub found: Option<SourceIdentity>,
    /// By `name@version`; what is not here may be installed elsewhere.
    pub activities: BTreeMap<String, Installed>,
    /// How long steps took before.
    pub history: History,
}

impl World {
    /// Nothing is known: what a plan is computed from in the transaction that stops a run.
    pub const UNKNOWN: &'static Self = &Self {
        verdicts: BTreeMap::new(),
        verified: None,
        source: Source::Unknown,
        found: None,
        activities: BTreeMap::new(),
        history: History {
            runs: 0,
            paces: BTreeMap::new(),
        },
    };

    /// Keys of objects whose bytes are known to be wrong.
    #[must_use]
    pub fn corrupt(&self) -> Vec<String> {
        let corrupt = self
            .verdicts
            .iter()
            .filter(|(_, it)| **it == Verdict::Corrupt);
        corrupt.map(|(key, _)| key.clone()).collect()
    }

    /// Objects are like this, and nothing else is known.
    #[must_use]
    pub fn of_objects(verdicts: Verdicts) -> Self {
        Self {
            verdicts,
            ..Self::default()
        }
    }
}
