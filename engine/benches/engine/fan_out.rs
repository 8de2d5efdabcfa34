//! One run of very many steps: how long until all of them can be claimed, what memory that takes, and
//! how fast a worker gets through steps that do nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::engine::Engine;
use crate::server;

/// The most steps that a run may have.
const WIDE: usize = 99_999;
/// Steps that are run.
const RUN: usize = 10_000;
/// How often it is looked whether the steps are there.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn header() {
    println!("store     steps ready  after s  peak MiB  steps run  steps/s");
}

/// Opens a wide fan-out, and runs a smaller one. The two need an engine each: no worker of the first
/// has the activity.
pub(crate) async fn measure(store: &str, idle: Engine, busy: Engine) {
    server::forget_peak();
    let began = Instant::now();
    idle.fan_out(&json!({"n": WIDE})).await;
    while idle.waiting_steps().await < WIDE as u64 {
        tokio::time::sleep(LOOK).await;
    }
    let (opened, peak) = (began.elapsed(), server::peak_mib());
    idle.stop().await;
    let began = Instant::now();
    let run = busy.fan_out(&json!({"n": RUN})).await;
    busy.wait(&run).await;
    let ran = began.elapsed();
    busy.stop().await;
    println!(
        "{store:<8}  {WIDE:>11}  {:>7.2}  {peak:>8}  {RUN:>9}  {:>7.0}",
        opened.as_secs_f64(),
        RUN as f64 / ran.as_secs_f64()
    );
}
