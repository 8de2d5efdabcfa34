//! Retry plans against what then happens: histories with failures of every class, objects that go or rot,
//! sources that are replaced, tools that are upgraded, and edits. `TELECINE_PLANS` tells more of them,
//! `TELECINE_SEED` one again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use telecine_testkit::sim::{Planned, PlannedReport};

/// Histories in a usual test run: about two seconds unoptimised.
const PLANS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// What a campaign came to.
#[derive(Debug, Default)]
struct Told {
    executed: u64,
    stale: u64,
    mended: u64,
    edits: u64,
    moved: u64,
    refused: u64,
    kept_as_published: u64,
    succeeded: u64,
}

impl Told {
    fn add(&mut self, report: PlannedReport) {
        self.executed += u64::from(report.executed);
        self.stale += u64::from(report.stale);
        self.mended += u64::from(report.mended);
        self.edits += u64::from(report.edits);
        self.moved += u64::from(report.moved);
        self.refused += u64::from(report.refused);
        self.kept_as_published += u64::from(report.kept_as_published);
        self.succeeded += u64::from(report.status == telecine_engine::run::RunStatus::Succeeded);
    }
}

fn history(seed: u64) -> PlannedReport {
    let told = std::panic::catch_unwind(|| Planned::new(seed).run());
    told.unwrap_or_else(|_| panic!("a plan was not kept: TELECINE_SEED={seed}"))
}

#[test]
fn what_is_executed_is_what_was_planned() {
    let seeds = match number("TELECINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECINE_PLANS").unwrap_or(PLANS),
    };
    let (next, count) = (AtomicU64::new(seeds.start), seeds.end - seeds.start);
    let began = std::time::Instant::now();
    let told = Mutex::new(Told::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut mine = Told::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    mine.add(history(seed));
                }
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.executed += mine.executed;
                told.stale += mine.stale;
                told.mended += mine.mended;
                told.edits += mine.edits;
                told.moved += mine.moved;
                told.refused += mine.refused;
                told.kept_as_published += mine.kept_as_published;
                told.succeeded += mine.succeeded;
            });
        }
    });
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    eprintln!("{count} histories in {:?}: {told:?}", began.elapsed());
    let all = [
        told.executed,
        told.stale,
        told.mended,
        told.edits,
        told.moved,
        told.refused,
        told.kept_as_published,
        told.succeeded,
    ];
    assert!(
        count == 1 || all.iter().all(|times| *times > 0),
        "the histories are too tame: {told:?}"
    );
}
