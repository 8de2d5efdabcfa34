//! Retry plans of runs that stopped.

use telecine_engine::activity::ErrorClass;
use telecine_engine::id::PlanId;
use telecine_engine::retry::plan::{self, PlanState, RetryPlan, Verdicts};
use telecine_engine::store::{HEAD_STEPS, PlanHead};

use super::{Bench, Job, failed, single};

/// A run that failed, and its plan.
async fn stopped(on: &Bench) -> (Job, RetryPlan) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.fold(&job, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    let plan = compute(on, &job).await;
    (job, plan)
}

async fn compute(on: &Bench, job: &Job) -> RetryPlan {
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    plan::compute(
        PlanId::generate(),
        &snapshot,
        &job.definition,
        &Verdicts::new(),
    )
}

async fn save(on: &Bench, plan: &RetryPlan) {
    let mut tx = on.store.begin().await.unwrap();
    tx.save_plan(plan).await.unwrap();
    assert_eq!(tx.load_plan(&plan.job).await.unwrap().as_ref(), Some(plan));
    tx.commit().await.unwrap();
}

async fn latest(on: &Bench, job: &Job) -> Option<RetryPlan> {
    on.store.load_plan(&job.id).await.unwrap()
}

/// See the name.
pub async fn a_run_without_a_plan_has_none(on: Bench) {
    let job = on.submit(single()).await;
    assert_eq!(latest(&on, &job).await, None);
}

/// See the name.
pub async fn the_head_of_a_plan_has_its_first_steps_and_says_how_many_there_are(on: Bench) {
    let (job, plan) = stopped(&on).await;
    let head = || async { on.store.plan_head(&job.id).await.unwrap() };
    assert_eq!(head().await, None);
    save(&on, &plan).await;
    let all = PlanHead {
        total: 1,
        plan: plan.clone(),
    };
    assert_eq!(head().await, Some(all));
    let long = RetryPlan {
        steps: vec![plan.steps[0].clone(); 250],
        ..plan
    };
    save(&on, &long).await;
    let head = head().await.unwrap();
    assert_eq!((head.total, head.plan.steps.len()), (250, HEAD_STEPS));
    assert_eq!(head.plan.steps[..], long.steps[..HEAD_STEPS]);
    assert_eq!(head.plan.digest, long.digest);
}

/// See the name.
pub async fn the_last_plan_saved_is_the_latest(on: Bench) {
    let (job, first) = stopped(&on).await;
    let (other, theirs) = stopped(&on).await;
    let second = compute(&on, &job).await;
    // The later plan has the earlier id: the order of saving counts.
    save(&on, &second).await;
    save(&on, &first).await;
    save(&on, &theirs).await;
    assert_eq!(latest(&on, &job).await, Some(first));
    assert_eq!(latest(&on, &other).await, Some(theirs));
}

/// See the name.
pub async fn a_plan_is_replaced_by_its_id(on: Bench) {
    let (job, plan) = stopped(&on).await;
    save(&on, &plan).await;
    let executed = RetryPlan {
        state: PlanState::Executed,
        ..plan
    };
    save(&on, &executed).await;
    assert_eq!(latest(&on, &job).await, Some(executed));
}

/// See the name.
pub async fn a_later_plan_supersedes_proposed_ones_only(on: Bench) {
    let (job, first) = stopped(&on).await;
    let executed = RetryPlan {
        state: PlanState::Executed,
        ..compute(&on, &job).await
    };
    let last = compute(&on, &job).await;
    for plan in [&first, &executed, &last] {
        save(&on, plan).await;
    }
    assert_eq!(latest(&on, &job).await, Some(last));
}
