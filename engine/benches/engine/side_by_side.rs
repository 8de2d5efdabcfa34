//! Three steps that do next to nothing, one after the other: telecine on both of its stores, and what one
//! might use instead, in turn.

use tokio::process::Command;

use crate::figures::{Bound, Cost, Due, median, number, percentile, print_table};
use crate::peers::{self, Peer, State};
use crate::place::{Kind, Place};
use crate::process;
use crate::roles::Role;
use crate::server::Server;
use crate::subject::{Load, Subject};

/// Fills caches and plans before anything is measured.
const WARM_UP: Load = Load {
    workflows: 300,
    in_flight: 64,
    seconds: 10,
    pause_ms: 0,
};
/// One workflow at a time, now and then.
const IDLE: Load = Load {
    workflows: 80,
    in_flight: 1,
    seconds: 20,
    pause_ms: 250,
};
const AT_64: Load = Load {
    workflows: 6_000,
    in_flight: 64,
    seconds: 10,
    pause_ms: 0,
};
const AT_256: Load = Load {
    workflows: 12_000,
    in_flight: 256,
    seconds: 10,
    pause_ms: 0,
};

/// Whoever takes part.
struct Contestant {
    title: String,
    durability: &'static str,
    who: Who,
    loads: &'static [Load],
    rounds: Vec<Round>,
    trouble: Option<String>,
}

#[derive(Clone, Copy)]
enum Who {
    Telecine(Role, Kind),
    Peer(&'static Peer),
}

/// What one measured.
struct Round {
    idle_ms: Vec<f64>,
    /// One for each load.
    costs: Vec<Cost>,
}

/// Measures all, and prints a line for each measurement and a table of the medians.
pub(crate) async fn measure(server: Option<&Server>, rounds: usize) -> Vec<Due> {
    let mut contestants = telecine();
    contestants.extend(peers::selected().into_iter().map(Contestant::of_peer));
    for round in 1..=rounds {
        for contestant in &mut contestants {
            let measured = contestant.round(server).await;
            contestant.keep(round, measured);
        }
    }
    println!();
    let rows: Vec<_> = contestants.iter().flat_map(Contestant::rows).collect();
    print_table(
        &[
            "three steps",
            "durable",
            "in flight",
            "workflows/s",
            "of rounds",
            "CPU ms",
            "commits",
            "syncs",
            "log, bytes",
            "idle p50 ms",
            "idle p99 ms",
        ],
        &rows,
    );
    dues(&contestants)
}

fn telecine() -> Vec<Contestant> {
    let contestant = |title: &str, durability, (role, kind), loads| Contestant {
        title: title.to_owned(),
        durability,
        who: Who::Telecine(role, kind),
        loads,
        rounds: Vec::new(),
        trouble: None,
    };
    let both: &[Load] = &[AT_64, AT_256];
    vec![
        contestant(
            "telecine, SQLite",
            "each step, shared commits",
            (Role::Chain, Kind::Sqlite),
            both,
        ),
        contestant(
            "telecine, Postgres",
            "each step, shared commits",
            (Role::Chain, Kind::Postgres),
            both,
        ),
        contestant(
            "telecine, Postgres, worker elsewhere",
            "each step, shared commits",
            (Role::ChainApart, Kind::Postgres),
            &[],
        ),
    ]
}

impl Contestant {
    fn of_peer(peer: &'static Peer) -> Self {
        Self {
            title: peer.title(),
            durability: peer.durability,
            who: Who::Peer(peer),
            loads: &[AT_64],
            rounds: Vec::new(),
            trouble: None,
        }
    }

    async fn round(&self, server: Option<&Server>) -> Result<Round, String> {
        let kind = match self.who {
            Who::Telecine(_, kind) => kind,
            Who::Peer(peer) if peer.state == State::Postgres => Kind::Postgres,
            Who::Peer(_) => Kind::Sqlite,
        };
        let place = Place::new(kind, server).await?;
        let measured = self.measure(&place).await;
        place.clear().await;
        measured
    }

    async fn measure(&self, place: &Place) -> Result<Round, String> {
        let mut subject = Subject::start(self.command(place).await?).await?;
        subject.run(WARM_UP).await?;
        let idle_ms = subject.run(IDLE).await?.latencies_ms;
        let mut costs = Vec::new();
        for load in self.loads {
            costs.push(Cost::measure(&mut subject, place.server(), *load).await?);
        }
        if let Err(trouble) = subject.stop().await {
            eprintln!("{}: {trouble}", self.title);
        }
        Ok(Round { idle_ms, costs })
    }

    async fn command(&self, place: &Place) -> Result<Command, String> {
        match self.who {
            Who::Telecine(role, _) => Ok(role.command(place.address())),
            Who::Peer(peer) => peer.command(place.address()).await,
        }
    }

    fn keep(&mut self, number_of_round: usize, measured: Result<Round, String>) {
        let load = process::load();
        match measured {
            Ok(round) => {
                let costs = round.costs.iter().zip(self.loads).map(|(cost, load)| {
                    format!(
                        "{} in flight: {}/s, {} ms CPU; ",
                        load.in_flight,
                        number(cost.per_second),
                        number(cost.cpu_ms)
                    )
                });
                println!(
                    "round {number_of_round}, {}: {}idle p50 {} ms (load {load})",
                    self.title,
                    costs.collect::<String>(),
                    number(median(round.idle_ms.iter().copied()))
                );
                self.rounds.push(round);
            }
            Err(trouble) => {
                println!(
                    "round {number_of_round}, {}: {trouble} (load {load})",
                    self.title
                );
                self.trouble = Some(trouble);
            }
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let title = || vec![self.title.clone(), self.durability.to_owned()];
        if self.rounds.is_empty() {
            let trouble = self.trouble.as_deref().unwrap_or("not measured");
            return vec![[title(), vec![String::new(), format!("{trouble:.60}")]].concat()];
        }
        let idle = [0.5, 0.99].map(|share| number(self.idle_ms(share)));
        if self.loads.is_empty() {
            let none = vec![String::new(); 7];
            return vec![[title(), none, idle.to_vec()].concat()];
        }
        let rows = self.loads.iter().enumerate().map(|(n, load)| {
            let idle = if n == 0 { idle.to_vec() } else { Vec::new() };
            [title(), self.figures(n, load), idle].concat()
        });
        rows.collect()
    }

    fn figures(&self, n: usize, load: &Load) -> Vec<String> {
        let cost = self.cost(n);
        let rates = self.rounds.iter().map(|round| round.costs[n].per_second);
        let slowest = rates.clone().fold(f64::INFINITY, f64::min);
        let fastest = rates.fold(0.0, f64::max);
        let counted = cost.counted.map_or_else(
            || vec![String::new(); 3],
            |counted| {
                [counted.commits, counted.syncs, counted.wal_bytes]
                    .map(number)
                    .to_vec()
            },
        );
        let figures = vec![
            load.in_flight.to_string(),
            number(cost.per_second),
            format!("{}–{}", number(slowest), number(fastest)),
            number(cost.cpu_ms),
        ];
        [figures, counted].concat()
    }

    fn cost(&self, n: usize) -> Cost {
        let costs: Vec<Cost> = self.rounds.iter().map(|round| round.costs[n]).collect();
        Cost::median(&costs)
    }

    /// Over the workflows of all rounds.
    fn idle_ms(&self, share: f64) -> f64 {
        let all: Vec<f64> = self
            .rounds
            .iter()
            .flat_map(|round| round.idle_ms.clone())
            .collect();
        percentile(&all, share)
    }
}

fn dues(contestants: &[Contestant]) -> Vec<Due> {
    let measured = |kind: Kind| {
        contestants.iter().find(|contestant| {
            let measured = !contestant.rounds.is_empty();
            matches!(contestant.who, Who::Telecine(Role::Chain, of) if of == kind) && measured
        })
    };
    let due = |what: &str, measured, due| Due {
        what: what.to_owned(),
        measured,
        due,
    };
    let mut dues = Vec::new();
    if let Some(sqlite) = measured(Kind::Sqlite) {
        let rate = sqlite.cost(0).per_second;
        dues.push(due(
            "SQLite, 64 in flight: workflows/s",
            rate,
            Bound::AtLeast(8_000.0),
        ));
    }
    if let Some(postgres) = measured(Kind::Postgres) {
        let (cost, idle) = (postgres.cost(0), |share| postgres.idle_ms(share));
        let (syncs, crowd) = (
            cost.counted.map_or(f64::NAN, |counted| counted.syncs),
            postgres.cost(1),
        );
        dues.extend([
            due(
                "Postgres, 64 in flight: workflows/s",
                cost.per_second,
                Bound::AtLeast(2_000.0),
            ),
            due(
                "Postgres, 256 in flight: workflows/s",
                crowd.per_second,
                Bound::AtLeast(5_000.0),
            ),
            due(
                "Postgres, 64 in flight: CPU ms a workflow",
                cost.cpu_ms,
                Bound::AtMost(0.6),
            ),
            due(
                "Postgres, 64 in flight: syncs a workflow",
                syncs,
                Bound::AtMost(0.5),
            ),
            due("Postgres, idle: p50 ms", idle(0.5), Bound::AtMost(2.0)),
            due("Postgres, idle: p99 ms", idle(0.99), Bound::AtMost(10.0)),
        ]);
        dues.extend(ahead_of_peers(postgres, contestants));
    }
    dues
}

/// The best of the peers in each figure, which telecine is to be ahead of.
fn ahead_of_peers(telecine: &Contestant, contestants: &[Contestant]) -> Vec<Due> {
    let peers = || {
        let measured =
            |one: &&Contestant| matches!(one.who, Who::Peer(_)) && !one.rounds.is_empty();
        contestants.iter().filter(measured)
    };
    type Figure = fn(&Contestant) -> Option<f64>;
    let figures: [(&str, bool, Figure); 5] = [
        ("workflows/s", true, |one| Some(one.cost(0).per_second)),
        ("CPU ms", false, |one| Some(one.cost(0).cpu_ms)),
        ("syncs", false, |one| Some(one.cost(0).counted?.syncs)),
        ("idle p50 ms", false, |one| Some(one.idle_ms(0.5))),
        ("idle p99 ms", false, |one| Some(one.idle_ms(0.99))),
    ];
    let best = |(what, more_is_better, figure): (&str, bool, Figure)| {
        let better = |a: f64, b: f64| {
            if more_is_better {
                b.total_cmp(&a)
            } else {
                a.total_cmp(&b)
            }
        };
        let others = peers().filter_map(|one| Some((figure(one)?, &one.title)));
        let (bound, title) = others.min_by(|(a, _), (b, _)| better(*a, *b))?;
        Some(Due {
            what: format!("Postgres beside the best peer ({title}): {what}"),
            measured: figure(telecine)?,
            due: if more_is_better {
                Bound::AtLeast(bound)
            } else {
                Bound::AtMost(bound)
            },
        })
    };
    figures.into_iter().filter_map(best).collect()
}
