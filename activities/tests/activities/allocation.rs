//! Generations are given to one job each, also by databases that know nothing of each other.

use serde_json::{Value, json};
use telecine_activities::allocate::Allocate;
use telecine_engine::activity::{ActivityError, DynActivity};

use crate::attempt::Bench;

async fn allocate(bench: &Bench, run: &str) -> Result<Value, ActivityError> {
    let attempt = bench.attempt_of(run, None);
    let input = json!({"hash": "testhash", "sha256": "unused"});
    DynActivity::run(&Allocate, &attempt.ctx, input).await
}

fn generation(allocated: Result<Value, ActivityError>) -> u64 {
    allocated.unwrap()["generation"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_several_data_directories_never_share_a_generation() {
    let mut generations = allocate_at_once(Bench::new()).await;
    generations.sort_unstable();
    assert_eq!(generations, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_in_a_store_that_ignores_conditions() {
    let mut generations = allocate_at_once(Bench::unconditional()).await;
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), 6, "{generations:?}");
}

/// The generations that jobs of six data directories are given.
async fn allocate_at_once(first: Bench) -> Vec<u64> {
    let benches: Vec<_> = {
        let others = (1..6).map(|_| Bench::beside(&first)).collect::<Vec<_>>();
        std::iter::once(first).chain(others).collect()
    };
    let mut allocating = tokio::task::JoinSet::new();
    for (n, bench) in benches.into_iter().enumerate() {
        allocating.spawn(async move { generation(allocate(&bench, &format!("run_{n}")).await) });
    }
    allocating.join_all().await
}

#[tokio::test]
async fn every_attempt_of_a_run_has_its_generation() {
    for bench in [Bench::new(), Bench::unconditional()] {
        for _ in 0..2 {
            assert_eq!(generation(allocate(&bench, "run_a").await), 1);
        }
        assert_eq!(generation(allocate(&bench, "run_b").await), 2);
    }
}

#[tokio::test]
async fn a_set_that_nobody_claimed_is_not_written_into() {
    let bench = Bench::new();
    let set = bench.media_dir().join("videos/te/testhash/g4");
    std::fs::create_dir_all(&set).unwrap();
    std::fs::write(set.join("master.m3u8"), "#EXTM3U").unwrap();
    assert_eq!(generation(allocate(&bench, "run_a").await), 5);
}

#[tokio::test]
async fn a_generation_that_the_database_gives_and_the_store_gave_to_another_is_refused() {
    let bench = Bench::new();
    let set = bench.media_dir().join("videos/te/testhash/g7");
    std::fs::create_dir_all(&set).unwrap();
    std::fs::write(set.join(".claim"), "run_of_another_directory").unwrap();
    bench.always_allocate(7);
    let error = allocate(&bench, "run_a").await.unwrap_err();
    assert_eq!(error.code, "generation_taken");
}
