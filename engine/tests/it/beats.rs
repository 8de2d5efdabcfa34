//! What it costs to stay alive.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use telecine_engine::queue::Machine;

use crate::stage::{Home, Running, Stage, on_every_store};

on_every_store! {
    many_running_steps_are_kept_alive_by_a_row_for_each_worker
}

/// Steps that run, and workers that run them. A row for each step and beat would be 800 a second; 10,000
/// steps wrote as little as these.
const STEPS: usize = 2_000;
const WORKERS: usize = 4;
/// What a minute would show as well.
const WHILE: Duration = Duration::from_secs(8);
/// Rows that may be written in a second for nothing but that.
const ROWS_PER_SECOND: f64 = 20.0;
/// A machine that is busy with other tests takes its time to begin as many.
const BEGIN: Duration = Duration::from_secs(120);

/// A row of `written` for each row that is written in these tables from now on.
const COUNT_ON_SQLITE: &str = "
    create table written (name text not null);
    create trigger count_session after update on session
        begin insert into written values ('session'); end;
    create trigger count_step after update on step
        begin insert into written values ('step'); end;
    create trigger count_run after update on run
        begin insert into written values ('run'); end;
    create trigger count_progress after update on step_progress
        begin insert into written values ('step_progress'); end";
const COUNT_ON_POSTGRES: &str = "
    create table written (name text not null);
    create function count_it() returns trigger language plpgsql as $$
        begin
            insert into written values (tg_table_name);
            return new;
        end
    $$;
    create trigger count_it after update on session for each row execute function count_it();
    create trigger count_it after update on step for each row execute function count_it();
    create trigger count_it after update on run for each row execute function count_it()";

/// The rows of a table, or of a part of one.
async fn count(stage: &Stage, of: &str) -> usize {
    let count = format!("select cast(count(*) as text) from {of}");
    stage.home.text(&count).await.parse().unwrap()
}

const RUNNING: &str = "step where status = 'running'";

/// Waits until all steps are among these rows.
async fn all_are(stage: &Stage, of: &str) {
    let began = Instant::now();
    while count(stage, of).await < STEPS {
        assert!(began.elapsed() < BEGIN, "{} {of}", count(stage, of).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn many_running_steps_are_kept_alive_by_a_row_for_each_worker(home: Home) {
    let stage = Stage::on(home).await;
    let list: Vec<usize> = (0..STEPS).collect();
    let steps = format!(
        "  list: {{activity: test.act@1, with: {{what: succeed, value: {list:?}}}}}\n\
         \x20 a: {{activity: test.act@1, for_each: steps.list.output, with: {{what: hang, times: 9}}}}"
    );
    stage.submit(&steps).await;
    let mut workers: Vec<Running> = Vec::new();
    for _ in 0..WORKERS {
        workers.push(stage.work_on(Machine::with_slots(STEPS / WORKERS)).await);
    }
    all_are(&stage, RUNNING).await;
    // Each shows once how far it is: nowhere.
    let shown = "step where progress is not null";
    all_are(&stage, stage.home.either("step_progress", shown)).await;

    let counting = stage.home.either(COUNT_ON_SQLITE, COUNT_ON_POSTGRES);
    stage.home.execute(counting).await;
    let began = Instant::now();
    tokio::time::sleep(WHILE).await;
    let written = count(&stage, "written").await;
    let most = began.elapsed().as_secs_f64() * ROWS_PER_SECOND;
    let of_others = count(&stage, "written where name <> 'session'").await;
    assert_eq!(of_others, 0, "nothing is written for each step");
    assert!(written as f64 <= most, "{written} rows");
    assert_eq!(count(&stage, RUNNING).await, STEPS);
    assert_eq!(count(&stage, "attempt").await, 1, "nobody lost one");
    for worker in workers {
        worker.abandon();
    }
}
