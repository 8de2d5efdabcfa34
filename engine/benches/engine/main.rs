//! What a workflow costs, beside what one would use instead.
//!
//! `./x bench engine` starts a Postgres with its default, durable settings, says in
//! `TELECINE_BENCH_POSTGRES_URL` where it is, and installs the peers. The cases are:
//!
//! * `side-by-side`: three steps, telecine and its peers in turn;
//! * `fan-out`: 99,999 steps of one run made ready;
//! * `spread`: 10,000 steps of one run on one process and on four;
//! * `history`: an empty database, and one with a million finished runs.
//!
//! `TELECINE_BENCH_CASES` names some of them, with commas; `TELECINE_BENCH_ROUNDS` (3) rounds are made of
//! each; `TELECINE_BENCH_PEERS` names peers, or `none`. Whatever is measured runs in processes of its own,
//! which are given the same loads in the same way; CPU is that of all of them and of the server; commits,
//! syncs and bytes of the write-ahead log are what the server counts. It ends with 1 if a figure is short of
//! what is due.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod activities;
mod engine;
mod fan_out;
mod figures;
mod history;
mod peers;
mod place;
mod process;
mod roles;
mod server;
mod side_by_side;
mod spread;
mod subject;

use std::process::ExitCode;

use self::figures::Due;
use self::roles::Role;
use self::server::Server;

const CASES: [&str; 4] = ["side-by-side", "fan-out", "spread", "history"];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some((role, place)) = Role::of_this_process() {
        runtime.block_on(role.play(&place));
        return ExitCode::SUCCESS;
    }
    let dues = runtime.block_on(measure());
    figures::print_dues(&dues);
    match dues.iter().all(Due::is_met) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn measure() -> Vec<Due> {
    let rounds = number_named("TELECINE_BENCH_ROUNDS").unwrap_or(3);
    let cases = cases();
    let server = Server::named().await;
    let server = server.as_ref();
    print_conditions(server).await;
    let mut dues = Vec::new();
    for case in cases {
        dues.extend(match case.as_str() {
            "side-by-side" => side_by_side::measure(server, rounds).await,
            "fan-out" => fan_out::measure(server).await,
            "spread" => spread::measure(server, rounds).await,
            _ => history::measure(server, rounds).await,
        });
    }
    dues
}

async fn print_conditions(server: Option<&Server>) {
    let postgres = match server {
        Some(server) => server.describe().await,
        None => "no Postgres".to_owned(),
    };
    println!(
        "{}; {postgres}; load {}\n",
        process::machine(),
        process::load()
    );
}

fn cases() -> Vec<String> {
    let named = std::env::var("TELECINE_BENCH_CASES").unwrap_or_else(|_| CASES.join(","));
    let cases: Vec<String> = named.split(',').map(str::to_owned).collect();
    for case in &cases {
        assert!(
            CASES.contains(&case.as_str()),
            "there is no case {case}: {}",
            CASES.join(", ")
        );
    }
    cases
}

fn number_named(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}
