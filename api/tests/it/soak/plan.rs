//! What is to be done, and what is to fail.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Something that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A worker and its children are killed, and another one is started in its place.
    Kill,
    /// A worker and its children are killed, and another one is started on another machine.
    Replace,
    /// A worker is told to stop, and another one is started.
    Stop,
    /// A server is killed, and another one is started.
    KillServer,
    /// A worker stands still for longer than its lease, and then goes on.
    Pause,
    /// The object store has too much to do for a while.
    BusyStore,
    /// The object store is slow for a while.
    SlowStore,
    /// The object store ends connections.
    LostStore,
    /// The database restarts, without an end to what it was doing.
    RestartPostgres,
    /// Redis forgets everything.
    FlushRedis,
    /// Redis answers nobody for half a minute.
    PauseRedis,
    /// Redis is gone for a while.
    RestartRedis,
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "kill" => Self::Kill,
            "replace" => Self::Replace,
            "stop" => Self::Stop,
            "kill-server" => Self::KillServer,
            "pause" => Self::Pause,
            "busy-store" => Self::BusyStore,
            "slow-store" => Self::SlowStore,
            "lost-store" => Self::LostStore,
            "restart-postgres" => Self::RestartPostgres,
            "flush-redis" => Self::FlushRedis,
            "pause-redis" => Self::PauseRedis,
            "restart-redis" => Self::RestartRedis,
            other => return Err(format!("there is no trouble {other}")),
        })
    }
}

impl Trouble {
    /// Which turn it has among those of one moment. What has to be waited for comes last, while the rest is in
    /// force.
    pub(super) fn turn(self) -> u8 {
        match self {
            Self::Stop => 2,
            Self::RestartPostgres => 1,
            _ => 0,
        }
    }
}

/// Those that need no database and no Redis of their own.
const TROUBLES: &str = "kill,replace,stop,kill-server,pause,busy-store,slow-store,lost-store";

/// How often the size of the database is looked at in the time of a plan, at least: some are missed while
/// something is waited for.
const SAMPLES: u32 = 12;
/// The longest time from one of them to the next.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Each member is set by a variable.
#[derive(Debug)]
pub(super) struct Plan {
    /// `TELECINE_SOAK_SEED`: what fails when.
    pub(super) seed: u64,
    /// `TELECINE_SOAK_SECONDS`: how long jobs are submitted and things fail.
    pub(super) time: Duration,
    /// `TELECINE_SOAK_EVERY`: seconds from one trouble to the next.
    pub(super) every: Duration,
    /// `TELECINE_SOAK_TROUBLES`: names with commas in between.
    pub(super) troubles: Vec<Trouble>,
    /// `TELECINE_SOAK_AT_ONCE`: troubles at the same time, each another one as far as there are so many.
    pub(super) at_once: usize,
    /// `TELECINE_SOAK_WITHOUT_REDIS`: if it is `yes`, Redis is stopped before anything is done, and stays so.
    pub(super) without_redis: bool,
    /// `TELECINE_SOAK_TAKEN_OVER`: seconds within which, at the 99th percentile, the next worker has to go on with
    /// what a killed one ran, where there is room.
    pub(super) taken_over: Option<f64>,
    /// `TELECINE_SOAK_WORKERS`: workers at a time.
    pub(super) workers: usize,
    /// `TELECINE_SOAK_JOBS`: so many jobs, all submitted at once. Without it, a few are always under
    /// way.
    pub(super) jobs: Option<usize>,
    /// `TELECINE_SOAK_CLIPS`: a directory of videos, each the source of every so-many-th job.
    pub(super) clips: Option<PathBuf>,
    /// `TELECINE_SOAK_WORKFLOW`.
    pub(super) workflow: String,
}

impl Plan {
    pub(super) fn from_environment() -> Self {
        let seconds = |name, otherwise| Duration::from_secs(number(name).unwrap_or(otherwise));
        let troubles = variable("TELECINE_SOAK_TROUBLES").unwrap_or_else(|| TROUBLES.to_owned());
        let trouble = |name: &str| name.parse().unwrap_or_else(|error| panic!("{error}"));
        Self {
            seed: number("TELECINE_SOAK_SEED").unwrap_or(1),
            time: seconds("TELECINE_SOAK_SECONDS", 20),
            every: seconds("TELECINE_SOAK_EVERY", 3),
            troubles: troubles.split(',').map(trouble).collect(),
            at_once: number("TELECINE_SOAK_AT_ONCE").unwrap_or(1),
            without_redis: variable("TELECINE_SOAK_WITHOUT_REDIS").is_some_and(|it| it == "yes"),
            taken_over: number("TELECINE_SOAK_TAKEN_OVER"),
            workers: number("TELECINE_SOAK_WORKERS").unwrap_or(2),
            jobs: number("TELECINE_SOAK_JOBS"),
            clips: variable("TELECINE_SOAK_CLIPS").map(PathBuf::from),
            workflow: variable("TELECINE_SOAK_WORKFLOW")
                .unwrap_or_else(|| "video:transcode".to_owned()),
        }
    }

    /// How often the size of the database is looked at.
    pub(super) fn sample_every(&self) -> Duration {
        (self.time / SAMPLES).min(LONGEST_PAUSE)
    }

    /// What fails at the same time, in turn.
    pub(super) fn troubles_at_once(&self, dice: &mut Dice) -> Vec<Trouble> {
        let mut troubles = dice.some(&self.troubles, self.at_once);
        troubles.sort_by_key(|trouble| trouble.turn());
        troubles
    }

    /// Whether no more jobs are to be submitted.
    pub(super) fn is_all(&self, accepted: usize) -> bool {
        self.jobs.is_some_and(|jobs| accepted >= jobs)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = variable(name)?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{name} has to be a number, not {text}")))
}

/// Chance that a seed repeats (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("an index")
    }

    /// So many of them, or all if there are fewer.
    pub(super) fn some<T: Copy>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut left = of.to_vec();
        let mut some = Vec::new();
        while some.len() < count && !left.is_empty() {
            some.push(left.swap_remove(self.below(left.len())));
        }
        some
    }
}
