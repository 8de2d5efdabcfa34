//! What killed attempts and jobs that are over leave in the object store, and who removes it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use telecine_engine::id::RunId;
use telecine_engine::run::RunStatus;
use telecine_engine::services::{forget_runs, remove_litter};

use crate::edits::rounds::{force, round};
use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    what_a_killed_attempt_left_is_removed_and_nothing_else
    what_a_job_leaves_when_it_went_on_is_removed_as_well
    what_is_younger_than_its_job_is_left_alone
    what_says_that_it_was_published_is_left_alone
    nothing_of_what_failed_after_it_was_published_is_removed
    a_job_that_published_nothing_is_forgotten_and_what_it_left_is_removed
    what_a_job_made_stays_if_it_succeeded
}

const HOUR: Duration = Duration::from_secs(3600);

async fn what_a_killed_attempt_left_is_removed_and_nothing_else(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let steps = "  place: {activity: test.place@1, with: {name: film}}\n\
                 \x20 make: {activity: test.act@1, needs: [place], with: {what: store, value: film/g1/made_00000001.txt}}\n\
                 \x20 name: {activity: test.act@1, with: {what: succeed, value: {keys: [film/g1/named_00000002.txt]}}}";
    let run = stage.submit(steps).await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded, "{snapshot:#?}");
    worker.stop().await;

    let lost = "film/g1/lost_00000003.txt";
    let others = [
        "film/g1/named_00000002.txt",
        "film/g1/list.m3u8",
        "film/g2/of_another_run_00000004.txt",
        "film/elsewhere_00000005.txt",
    ];
    others.iter().for_each(|key| put(&stage, key));
    put(&stage, lost);
    let (unfinished, under_way) = (".telecine-partial/one", ".telecine-partial/two");
    put(&stage, unfinished);
    put(&stage, under_way);
    postpone(&stage, under_way, HOUR);
    let remove = async |grace| remove_litter(&stage.coordinator, grace).await.unwrap();
    assert_eq!(remove(HOUR).await, [""; 0], "the run stopped just now");
    assert_eq!(remove(Duration::ZERO).await, [lost]);
    assert!(!stage.directory().join(unfinished).exists());
    assert!(stage.directory().join(under_way).exists(), "it is younger");
    for key in others.iter().chain([&"film/g1/made_00000001.txt"]) {
        assert!(stage.directory().join(key).exists(), "{key}");
    }
    put(&stage, lost);
    assert_eq!(remove(Duration::ZERO).await, [""; 0], "once");
}

fn put(stage: &Stage, key: &str) {
    let file = stage.directory().join(key);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, "bytes").unwrap();
}

async fn litter(stage: &Stage) -> Vec<String> {
    let removed = remove_litter(&stage.coordinator, Duration::ZERO).await;
    removed.unwrap()
}

async fn forgotten(stage: &Stage) -> Vec<RunId> {
    let forgotten = forget_runs(&stage.coordinator, Duration::ZERO).await;
    forgotten.unwrap()
}

async fn what_a_job_leaves_when_it_went_on_is_removed_as_well(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = job(&stage, 1, (false, false)).await;
    worker.stop().await;
    put(&stage, "film/g1/lost_00000003.txt");
    assert_eq!(litter(&stage).await, ["film/g1/lost_00000003.txt"]);
    let (_, ended) = round(&stage, &run, &force("end")).await;
    assert_eq!(ended.run.status, RunStatus::Failed, "{ended:#?}");
    put(&stage, "film/g1/lost_00000004.txt");
    assert_eq!(litter(&stage).await, ["film/g1/lost_00000004.txt"]);
}

/// Lets a file be written so much later than now.
fn postpone(stage: &Stage, key: &str, later: Duration) {
    let file = std::fs::File::options()
        .append(true)
        .open(stage.directory().join(key));
    let at = std::time::SystemTime::now() + later;
    file.unwrap().set_modified(at).unwrap();
}

/// As after a database was set back to an earlier time, which knows of nothing that came then.
async fn what_is_younger_than_its_job_is_left_alone(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = job(&stage, 1, (false, false)).await;
    worker.stop().await;
    let (old, young) = ("film/g1/a_00000003.txt", "film/g1/b_00000004.txt");
    put(&stage, old);
    put(&stage, young);
    postpone(&stage, young, 2 * HOUR);
    assert_eq!(litter(&stage).await, [""; 0]);
    assert_eq!(forgotten(&stage).await, [run]);
    for key in [old, young, "film/g1/made.txt"] {
        assert!(stage.directory().join(key).exists(), "{key}");
    }
}

/// Though the database does not know, as after it was set back to a time before a job went on.
async fn what_says_that_it_was_published_is_left_alone(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = job(&stage, 1, (false, false)).await;
    worker.stop().await;
    let kept = ["film/g1/lost_00000003.txt", "film/g1/.published"];
    kept.iter().for_each(|key| put(&stage, key));
    assert_eq!(litter(&stage).await, [""; 0]);
    assert_eq!(forgotten(&stage).await, [run]);
    for key in kept.iter().chain(&["film/g1/made.txt"]) {
        assert!(stage.directory().join(key).exists(), "{key}");
    }
}

async fn nothing_of_what_failed_after_it_was_published_is_removed(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    job(&stage, 1, (true, false)).await;
    let succeeded = job(&stage, 2, (true, true)).await;
    worker.stop().await;
    put(&stage, "film/g1/lost_00000003.txt");
    assert_eq!(litter(&stage).await, [""; 0]);
    // Readers who were led to the first one may be there still.
    assert_eq!(forgotten(&stage).await, []);
    assert!(stage.directory().join("film/g1/made.txt").exists());
    let store = &stage.coordinator.store;
    assert!(store.load_run(&succeeded).await.unwrap().is_some());
}

/// Makes `film/g{n}/made.txt`, publishes it if that is wanted, and succeeds if it is to.
async fn job(stage: &Stage, n: u32, (publishes, succeeds): (bool, bool)) -> RunId {
    let show = match publishes {
        true => {
            "  show: {activity: test.publish@1, with: {name: film, of: \"${{ steps.make.output }}\"}}\n"
        }
        false => "",
    };
    let what = if succeeds { "succeed" } else { "refuse" };
    let steps = format!(
        "  place: {{activity: test.place@1, with: {{name: film}}}}\n\
         \x20 make: {{activity: test.act@1, needs: [place], with: {{what: store, value: film/g{n}/made.txt}}}}\n\
         {show}\
         \x20 end: {{activity: test.act@1, needs: [make], with: {{what: {what}, value: {n}}}}}"
    );
    let run = stage.submit(&steps).await;
    stage.stopped(&run).await;
    run
}

async fn a_job_that_published_nothing_is_forgotten_and_what_it_left_is_removed(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let failed = job(&stage, 1, (false, false)).await;
    let published = job(&stage, 2, (true, true)).await;
    worker.stop().await;
    // Whoever looks for a free number finds it taken.
    put(&stage, "film/g1/.claim_0a1b");
    assert_eq!(forgotten(&stage).await, [failed]);
    let there = |key: &str| stage.directory().join(key).exists();
    assert!(!there("film/g1/made.txt") && there("film/g1/.claim_0a1b"));
    assert!(there("film/g2/made.txt"));
    let store = &stage.coordinator.store;
    assert!(store.load_run(&published).await.unwrap().is_some());
    assert_eq!(forgotten(&stage).await, []);
}

/// It was made for somebody all the same.
async fn what_a_job_made_stays_if_it_succeeded(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = job(&stage, 1, (false, true)).await;
    worker.stop().await;
    assert_eq!(forgotten(&stage).await, [run]);
    assert!(stage.directory().join("film/g1/made.txt").exists());
}
