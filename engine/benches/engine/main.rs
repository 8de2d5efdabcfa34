//! What a workflow costs: three steps that do nothing, one after the other, on SQLite and on a
//! Postgres with its default, durable settings.
//!
//! `./x bench engine` starts the server and says in `TELECINE_BENCH_POSTGRES_URL` where it is.
//! `TELECINE_BENCH_ROUNDS` (3) rounds are made in turn; wall time and CPU are of everything that runs,
//! the server included; commits, syncs and bytes of the write-ahead log are what the server counts.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod engine;
mod fan_out;
mod server;

use std::time::Duration;

use self::engine::Engine;
use self::server::{Counters, Server};

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Workflows at a time.
    in_flight: usize,
    /// Workflows altogether.
    workflows: usize,
}

const LOADS: [Load; 3] = [
    Load {
        in_flight: 1,
        workflows: 500,
    },
    Load {
        in_flight: 64,
        workflows: 6_000,
    },
    Load {
        in_flight: 256,
        workflows: 12_000,
    },
];
/// Workflows that fill caches and plans before anything is measured.
const WARM_UP: usize = 300;

/// What one measurement came to.
struct Figures {
    wall: Duration,
    cpu: Duration,
    server: Option<Counters>,
    latencies: Vec<Duration>,
}

fn main() {
    let rounds = number("TELECINE_BENCH_ROUNDS").unwrap_or(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fan_outs());
    println!(
        "store     in flight  workflows/s  CPU ms/wf  commits/wf  syncs/wf  WAL B/wf  p50 ms  p99 ms"
    );
    for _ in 0..rounds {
        for load in LOADS {
            runtime.block_on(async {
                let directory = tempfile::tempdir().unwrap();
                let engine = Engine::on_sqlite(directory.path(), true).await;
                print("sqlite", load, &measure(engine, load, None).await);
                if let Some(server) = Server::named() {
                    let engine = Engine::on_postgres(&server.schema().await, true).await;
                    print(
                        "postgres",
                        load,
                        &measure(engine, load, Some(&server)).await,
                    );
                }
            });
        }
    }
}

async fn fan_outs() {
    fan_out::header();
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let idle = Engine::on_sqlite(places[0].path(), false).await;
    let busy = Engine::on_sqlite(places[1].path(), true).await;
    fan_out::measure("sqlite", idle, busy).await;
    if let Some(server) = Server::named() {
        let idle = Engine::on_postgres(&server.schema().await, false).await;
        let busy = Engine::on_postgres(&server.schema().await, true).await;
        fan_out::measure("postgres", idle, busy).await;
    }
    println!();
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

async fn measure(engine: Engine, load: Load, server: Option<&Server>) -> Figures {
    engine.run(load.in_flight, WARM_UP).await;
    let before = match server {
        Some(server) => Some(server.counters().await),
        None => None,
    };
    let (cpu, started) = (server::cpu_of_this_process(), std::time::Instant::now());
    let latencies = engine.run(load.in_flight, load.workflows).await;
    let (wall, own) = (started.elapsed(), server::cpu_of_this_process() - cpu);
    let counted = match (server, before) {
        (Some(server), Some(before)) => Some(server.counters().await.since(&before)),
        _ => None,
    };
    let cpu = own
        + counted
            .as_ref()
            .map(|counted| counted.cpu)
            .unwrap_or_default();
    engine.stop().await;
    Figures {
        wall,
        cpu,
        server: counted,
        latencies,
    }
}

fn print(store: &str, load: Load, figures: &Figures) {
    let workflows = load.workflows as f64;
    let mut sorted = figures.latencies.clone();
    sorted.sort();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let counted = figures.server.as_ref().map(|server| {
        let per = |count: u64| count as f64 / workflows;
        format!(
            "{:>10.2}  {:>8.2}  {:>8.0}",
            per(server.commits),
            per(server.syncs),
            per(server.wal_bytes)
        )
    });
    println!(
        "{store:<8}  {:>9}  {:>11.0}  {:>9.3}  {}  {:>6.2}  {:>6.2}",
        load.in_flight,
        workflows / figures.wall.as_secs_f64(),
        figures.cpu.as_secs_f64() * 1e3 / workflows,
        counted.unwrap_or_else(|| " ".repeat(30)),
        at(0.5),
        at(0.99),
    );
}
