//! What killed attempts and jobs that are over leave in the object store, and who removes it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use telecine_engine::id::RunId;
use telecine_engine::run::RunStatus;
use telecine_engine::services::{forget_runs, remove_litter};
use telecine_engine::store::Ages;

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    what_a_killed_attempt_left_is_removed_and_nothing_else
    a_job_that_is_over_is_forgotten_with_what_nobody_sees_of_it
    what_a_job_made_stays_if_nothing_took_its_place
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
    for key in others.iter().chain([&lost]) {
        let file = stage.directory().join(key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "bytes").unwrap();
    }
    let remove = async |grace| remove_litter(&stage.coordinator, grace).await.unwrap();
    assert_eq!(remove(HOUR).await, [""; 0], "the run stopped just now");
    assert_eq!(remove(Duration::ZERO).await, [lost]);
    for key in others.iter().chain([&"film/g1/made_00000001.txt"]) {
        assert!(stage.directory().join(key).exists(), "{key}");
    }
    std::fs::write(stage.directory().join(lost), "bytes").unwrap();
    assert_eq!(remove(Duration::ZERO).await, [""; 0], "once");
}

/// Whatever has stopped, and whatever readers were led away from.
const AT_ONCE: Ages = Ages {
    stopped: Duration::ZERO,
    superseded: Duration::ZERO,
};

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

async fn a_job_that_is_over_is_forgotten_with_what_nobody_sees_of_it(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let first = job(&stage, 1, (true, true)).await;
    let failed = job(&stage, 2, (false, false)).await;
    let second = job(&stage, 3, (true, true)).await;
    worker.stop().await;
    let forgotten = forget_runs(&stage.coordinator, AT_ONCE).await.unwrap();
    assert_eq!(
        BTreeSet::from_iter(forgotten),
        BTreeSet::from([first, failed])
    );
    let there = |n: u32| {
        stage
            .directory()
            .join(format!("film/g{n}/made.txt"))
            .exists()
    };
    assert_eq!([1, 2, 3].map(there), [false, false, true]);
    let store = &stage.coordinator.store;
    assert!(store.load_run(&second).await.unwrap().is_some());
    assert_eq!(forget_runs(&stage.coordinator, AT_ONCE).await.unwrap(), []);
}

/// What succeeded and published nothing was made for somebody all the same.
async fn what_a_job_made_stays_if_nothing_took_its_place(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = job(&stage, 1, (false, true)).await;
    worker.stop().await;
    assert_eq!(
        forget_runs(&stage.coordinator, AT_ONCE).await.unwrap(),
        [run]
    );
    assert!(stage.directory().join("film/g1/made.txt").exists());
}
