//! What this program is when it starts itself: telecine in a process of its own, which is given loads and
//! answers them as the programs of the peers do.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

use crate::engine::{Engine, Runs};
use crate::process;
use crate::subject::{Done, Load, Subject};

/// How often is looked whether a fan-out has got where it is to get.
const LOOK: Duration = Duration::from_millis(5);
/// One workflow of so many is looked at after it was measured.
const CHECKED: usize = 64;

/// What a process does with a database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Submits chains and runs them.
    Chain,
    /// Submits chains, which a process of its own runs.
    ChainApart,
    /// Runs what others submit.
    Work,
    /// Submits a fan-out and runs it, possibly beside others.
    RunFanOut,
    /// Submits a fan-out, and waits until all of its steps can be claimed.
    OpenFanOut,
}

const ROLES: [(&str, Role); 5] = [
    ("chain", Role::Chain),
    ("chain-apart", Role::ChainApart),
    ("work", Role::Work),
    ("run-fan-out", Role::RunFanOut),
    ("open-fan-out", Role::OpenFanOut),
];

/// Steps of a fan-out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Width {
    pub(crate) steps: usize,
}

/// What became of a fan-out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) seconds: f64,
    /// The most memory that the process has had.
    pub(crate) peak_mib: u64,
}

impl Role {
    /// This program in that role, on the Postgres at an address or SQLite in a directory.
    pub(crate) fn command(self, place: &str) -> Command {
        let named = |(_, role): &&(&str, Self)| {
            std::mem::discriminant(role) == std::mem::discriminant(&self)
        };
        let (name, _) = ROLES.iter().find(named).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, place]);
        command
    }

    /// The role and the place that this process was started with, if it was.
    pub(crate) fn of_this_process() -> Option<(Self, String)> {
        let (name, place) = (std::env::args().nth(1)?, std::env::args().nth(2)?);
        let (_, role) = ROLES.iter().find(|(role, _)| *role == name)?;
        Some((*role, place))
    }

    /// Answers loads until there are no more.
    pub(crate) async fn play(self, place: &str) {
        let helper = match self {
            Self::ChainApart => Some(Subject::start(Self::Work.command(place)).await.unwrap()),
            _ => None,
        };
        let engine = Engine::open(place, self.runs()).await;
        let engine = Arc::new(engine);
        say(&json!({"ready": true}));
        let mut asked = lines();
        match self {
            Self::Chain | Self::ChainApart => {
                while let Some(load) = next(&mut asked).await {
                    say(&chains(&engine, load).await);
                }
            }
            Self::RunFanOut | Self::OpenFanOut => {
                while let Some(width) = next(&mut asked).await {
                    say(&self.fan_out(&engine, width).await);
                }
            }
            Self::Work => while next::<Load>(&mut asked).await.is_some() {},
        }
        Arc::into_inner(engine).unwrap().stop().await;
        if let Some(helper) = helper {
            helper.stop().await.unwrap();
        }
    }

    fn runs(self) -> Runs {
        match self {
            Self::Chain | Self::Work | Self::RunFanOut => Runs::Everything,
            Self::ChainApart => Runs::Nothing,
            Self::OpenFanOut => Runs::NoLeaves,
        }
    }

    async fn fan_out(self, engine: &Engine, Width { steps }: Width) -> Opened {
        let began = Instant::now();
        let run = engine.fan_out(steps).await;
        match self {
            Self::OpenFanOut => {
                while engine.waiting_steps().await < steps as u64 {
                    tokio::time::sleep(LOOK).await;
                }
            }
            _ => engine.look_until_ended(&run, LOOK).await,
        }
        Opened {
            seconds: began.elapsed().as_secs_f64(),
            peak_mib: process::peak_mib(),
        }
    }
}

/// What comes in on standard input, read by a thread that waits for nobody here.
fn lines() -> Receiver<String> {
    let (sender, lines) = channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if sender.blocking_send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

async fn next<T: DeserializeOwned>(asked: &mut Receiver<String>) -> Option<T> {
    let line = asked.recv().await?;
    Some(serde_json::from_str(&line).unwrap())
}

fn say(answer: &impl Serialize) {
    println!("{}", serde_json::to_string(answer).unwrap());
}

async fn chains(engine: &Arc<Engine>, load: Load) -> Done {
    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..load.in_flight {
        lanes.spawn(lane(engine.clone(), load, next.clone()));
    }
    let latencies_ms = lanes.join_all().await.concat();
    Done {
        seconds: began.elapsed().as_secs_f64(),
        latencies_ms,
    }
}

async fn lane(engine: Arc<Engine>, load: Load, next: Arc<AtomicUsize>) -> Vec<f64> {
    let end = Instant::now() + Duration::from_secs(load.seconds);
    let mut latencies_ms = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.workflows || Instant::now() > end {
            return latencies_ms;
        }
        if load.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(load.pause_ms).mul_f64(chance())).await;
        }
        let submitted = Instant::now();
        let run = engine.chain(n).await;
        latencies_ms.push(submitted.elapsed().as_secs_f64() * 1e3);
        if n.is_multiple_of(CHECKED) {
            engine.check(&run, n).await;
        }
    }
}

/// A number below one.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
