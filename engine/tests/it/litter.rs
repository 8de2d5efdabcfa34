//! What killed attempts leave in the object store, and who removes it.

use std::time::Duration;

use telecine_engine::run::RunStatus;
use telecine_engine::services::remove_litter;

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    what_a_killed_attempt_left_is_removed_and_nothing_else
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
