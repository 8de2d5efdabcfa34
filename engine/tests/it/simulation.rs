//! Random graphs, driven by seeded chance through failures, losses, cancels and retry plans.
//! `TELECINE_SEEDS` and `TELECINE_FLEETS` run more of them, the latter within `TELECINE_FLEET_SECONDS` if that is
//! set; `TELECINE_SEED` runs one again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use telecine_engine::run::RunStatus;
use telecine_testkit::sim::{Fleet, Random, Report, Told, World, definition};

/// Histories in a usual test run: about three seconds unoptimised.
const SEEDS: u64 = 600;

/// Histories of several processes in a usual test run.
const FLEETS: u64 = 150;
/// Of so many of them, one has no trouble but outages.
const OUTAGES: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn seeds() -> Range<u64> {
    match number("TELECINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECINE_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn every_history_ends_and_breaks_no_rule() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let ends = Mutex::new(BTreeMap::new());
    on_every_processor(seeds, |seed| {
        let report = std::panic::catch_unwind(|| history(seed, 30));
        let Report { status, .. } =
            report.unwrap_or_else(|_| panic!("seed {seed} broke a rule: TELECINE_SEED={seed}"));
        *ends.lock().expect("no panic").entry(status).or_insert(0) += 1;
    });
    let ends = ends.into_inner().expect("no panic");
    assert!(ends.len() > 1 || count == 1, "histories differ: {ends:?}");
}

#[test]
fn without_trouble_every_run_succeeds_in_one_round() {
    for seed in seeds().take(500) {
        let report = history(seed, 0);
        assert_eq!(
            (report.status, report.rounds),
            (RunStatus::Succeeded, 1),
            "seed {seed}"
        );
    }
}

fn history(seed: u64, trouble: usize) -> Report {
    let mut random = Random::new(seed);
    let definition = definition(&mut random);
    World::new(seed, definition, trouble).run()
}

fn fleet(seed: u64) -> Fleet {
    match seed % OUTAGES {
        0 => Fleet::with_outages_only(seed),
        _ => Fleet::new(seed),
    }
}

/// Seeds are independent of each other: every processor takes the next one.
fn on_every_processor(seeds: Range<u64>, tell: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    tell(seed);
                }
            });
        }
    });
}

fn fleets(seeds: Range<u64>) -> Told {
    let all = Mutex::new(Told::default());
    on_every_processor(seeds, |seed| {
        let told = fleet(seed).run();
        let told = told.unwrap_or_else(|broken| panic!("TELECINE_SEED={seed}: {broken}"));
        all.lock().expect("no panic").add(told);
    });
    all.into_inner().expect("no panic")
}

#[test]
fn processes_that_die_and_stand_still_break_no_rule() {
    let seeds = match number("TELECINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECINE_FLEETS").unwrap_or(FLEETS),
    };
    let count = seeds.end - seeds.start;
    let began = Instant::now();
    let told = fleets(seeds);
    let took = began.elapsed();
    eprintln!("{count} histories in {took:?}: {told:?}");
    if let Some(due) = number("TELECINE_FLEET_SECONDS") {
        assert!(took.as_secs() < due, "they are due within {due} s");
    }
    let everything = [told.lost, told.held, told.unanswered, told.killed];
    assert!(
        count == 1 || everything.iter().all(|times| *times > 0),
        "the histories are too tame: {told:?}"
    );
}

#[test]
fn a_seed_tells_the_same_history_again() {
    // One of them has a crowd.
    for seed in 1..9 {
        assert_eq!(fleet(seed).run(), fleet(seed).run(), "seed {seed}");
    }
}
