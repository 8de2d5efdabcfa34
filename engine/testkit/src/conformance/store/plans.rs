//! Retry plans of runs that stopped.

use std::sync::Arc;

use chrono::Utc;
use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::definition::{ActivityRef, Definition, StepDef};
use telecine_engine::id::{PlanId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Command;
use telecine_engine::queue::Queue;
use telecine_engine::retry::edits::{Edit, RecordedEdit};
use telecine_engine::retry::plan::{self, Action, Given, PlanState, RetryPlan};
use telecine_engine::retry::world::{Identity, Source, Verification, Verified, World};
use telecine_engine::run::{Run, Snapshot, StepStatus};
use telecine_engine::store::{Content, DefinitionRecord, HEAD_STEPS, NewCheckpoint, PlanHead};

use super::{Bench, Job, artifact, failed, queued, record, single, step, workflow};

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
    plan::compute(PlanId::generate(), Given::of(&snapshot, &job.definition))
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

/// Those that were proved, executed or superseded are not.
pub async fn plans_that_nobody_has_proved_are_found(on: Bench) {
    let found = || async { on.store.unproved_plans(9).await.unwrap() };
    let (job, first) = stopped(&on).await;
    let named = |plan: &RetryPlan| vec![(plan.id.clone(), job.id.clone())];
    save(&on, &first).await;
    assert_eq!(found().await, named(&first));
    let next = compute(&on, &job).await;
    save(&on, &next).await;
    assert_eq!(found().await, named(&next));
    let (other, theirs) = stopped(&on).await;
    save(&on, &theirs).await;
    let latest = on.store.unproved_plans(1).await.unwrap();
    assert_eq!(latest, [(theirs.id.clone(), other.id.clone())]);
    let theirs = RetryPlan {
        state: PlanState::Executed,
        ..theirs
    };
    save(&on, &theirs).await;
    let proved = RetryPlan {
        verified: Some(Verified {
            how: Verification::Heads,
            at: Utc::now(),
            objects: 0,
        }),
        ..next.clone()
    };
    save(&on, &proved).await;
    assert_eq!(found().await, []);
    save(&on, &next).await;
    let executed = RetryPlan {
        state: PlanState::Executed,
        ..next
    };
    save(&on, &executed).await;
    assert_eq!(found().await, []);
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

/// See the name.
pub async fn every_plan_is_found_by_its_id(on: Bench) {
    let (job, first) = stopped(&on).await;
    let second = compute(&on, &job).await;
    assert_eq!(on.store.find_plan(&first.id).await.unwrap(), None);
    save(&on, &first).await;
    save(&on, &second).await;
    let superseded = RetryPlan {
        state: PlanState::Superseded,
        ..first
    };
    let found = on.store.find_plan(&superseded.id).await.unwrap();
    assert_eq!(found, Some(superseded));
    let found = on.store.find_plan(&second.id).await.unwrap();
    assert_eq!(found, Some(second));
}

/// Executed ones stay, however many come later.
pub async fn of_superseded_plans_the_latest_are_kept(on: Bench) {
    let (job, executed) = stopped(&on).await;
    let executed = RetryPlan {
        state: PlanState::Executed,
        ..executed
    };
    save(&on, &executed).await;
    let kept = limits::SUPERSEDED_PLANS as usize;
    let mut made = Vec::new();
    for _ in 0..kept + 3 {
        made.push(compute(&on, &job).await);
    }
    for plan in &made {
        save(&on, plan).await;
    }
    let mut found = Vec::new();
    for plan in &made {
        found.push(on.store.find_plan(&plan.id).await.unwrap().is_some());
    }
    let expected: Vec<bool> = (0..kept + 3).map(|n| n >= 2).collect();
    assert_eq!(found, expected);
    let found = on.store.find_plan(&executed.id).await.unwrap();
    assert_eq!(found, Some(executed));
}

/// A plan of a run with edits, executed.
async fn reopen(on: &Bench, job: &Job, (edits, world): (Vec<Edit>, World)) {
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let edits: Vec<RecordedEdit> = edits
        .into_iter()
        .map(|edit| RecordedEdit {
            edit,
            by: "a test".to_owned(),
            at: snapshot.run.created_at,
        })
        .collect();
    let given = Given {
        world: &world,
        edits: &edits,
        ..Given::of(&snapshot, &job.definition)
    };
    let plan = Box::new(plan::compute(PlanId::generate(), given));
    on.fold(job, Command::Reopen { plan }).await.unwrap();
}

/// A source that makes another request of a run.
fn replaced(fingerprint: &str) -> World {
    let identity = Identity {
        fingerprint: fingerprint.to_owned(),
        source: None,
        size: None,
        etag: None,
    };
    World {
        source: Source::Replaced(identity),
        ..World::default()
    }
}

/// The step runs again, whatever it failed with.
fn again() -> Vec<Edit> {
    let step = StepId::single("only");
    vec![Edit::Force { step }]
}

/// Of two runs of a source the later one goes on with another source, and then the first source is there
/// again.
pub async fn a_source_that_was_put_back_finds_the_job_that_was_made_from_it(on: Bench) {
    let (first, _) = stopped(&on).await;
    let source = on.run(&first).await.fingerprint;
    let forced = Run {
        fingerprint: source.clone(),
        ..queued(&first.definition, json!({}))
    };
    let forced = on.submit_run(single(), forced).await;
    let session = on.session().await;
    let find = async |source: &str| on.store.find_run(source).await.unwrap();
    assert_eq!(find(&source).await, Some(forced.id.clone()));
    for (to, finds) in [("another", &first), (&source, &forced)] {
        let claim = on.claim_one(&session).await;
        on.fold(&forced, failed(&claim, ErrorClass::Input))
            .await
            .unwrap();
        reopen(&on, &forced, (again(), replaced(to))).await;
        assert_eq!(find(&source).await, Some(finds.id.clone()));
        assert_eq!(find(to).await, Some(forced.id.clone()));
    }
    assert_eq!(find("another").await, None);
    let claim = on.claim_one(&session).await;
    on.fold(&forced, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    let earlier = Run {
        id: "job_0".to_owned().into(),
        ..queued(&first.definition, json!({}))
    };
    let earlier = on.submit_run(single(), earlier).await;
    let claim = on.claim_one(&session).await;
    on.fold(&earlier, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    reopen(&on, &earlier, (again(), replaced(&source))).await;
    assert_eq!(find(&source).await, Some(forced.id), "the latest one");
}

/// See the name.
pub async fn what_an_executed_plan_changed_is_kept_with_the_run(on: Bench) {
    let (job, _) = stopped(&on).await;
    let step = StepId::single("only");
    let path = "/name".to_owned();
    let edits = vec![
        Edit::Set {
            step: step.clone(),
            path: path.clone(),
            value: json!("\u{e9} \"quoted\""),
        },
        Edit::Budget {
            attempts: 7,
            step: Some(step.clone()),
        },
        Edit::Queue {
            queue: Queue::Critical,
        },
        Edit::Priority { priority: 3 },
    ];
    let before = on.run(&job).await.fingerprint;
    reopen(&on, &job, (edits, replaced("another source"))).await;
    let on = on.reopen().await;
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let Run {
        queue,
        priority,
        fingerprint,
        ..
    } = snapshot.run;
    assert_eq!((queue, priority), (Queue::Critical, 3));
    assert_eq!(fingerprint, "another source");
    let set = &snapshot.amendments.set[&step];
    assert_eq!(set[&path], json!("\u{e9} \"quoted\""));
    assert_eq!(snapshot.amendments.attempts_of(&step), Some(7));
    let found = on.store.find_run("another source").await.unwrap();
    assert_eq!(found, Some(job.id.clone()));
    assert_ne!(
        on.store.find_run(&before).await.unwrap(),
        Some(job.id.clone())
    );
    let claim = on.claim_one(&on.session().await).await;
    assert_eq!(claim.input["name"], json!("\u{e9} \"quoted\""));
}

/// See the name.
pub async fn damaged_objects_are_forgotten_and_told_to_the_attempt_that_makes_them_again(
    on: Bench,
) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let checkpoint = NewCheckpoint {
        content: Content::Whole(json!({"segments": 2})),
        covers: None,
        compat: "tool 1".to_owned(),
        artifacts: vec![artifact("one"), artifact("two")],
    };
    let saved = on.store.save_checkpoint(&claim.fence, &checkpoint).await;
    saved.unwrap();
    on.fold(&job, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    let before = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(before.steps[0].compat.as_deref(), Some("tool 1"));
    let mut plan = compute(&on, &job).await;
    plan.executable = true;
    plan.steps[0].action = Action::Resume;
    plan.steps[0].damaged = vec!["one".to_owned()];
    let plan = Box::new(plan);
    on.fold(&job, Command::Reopen { plan }).await.unwrap();
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(snapshot.steps[0].artifacts, [artifact("two")]);
    let step = StepId::single("only");
    assert_eq!(snapshot.amendments.damaged[&step], ["one"]);
    let again = on.claim_one(&on.session().await).await;
    assert!(again.checkpoint.is_some());
    on.complete(&job, &again, json!(1)).await;
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    assert!(snapshot.amendments.is_empty(), "{:?}", snapshot.amendments);
}

/// `keep`, `gone` and `fails`; of the second version `new`, `fails` of another activity, and `keep`.
fn versions() -> (Definition, Definition) {
    let first = workflow([
        ("keep", step(&[])),
        ("gone", step(&[])),
        ("fails", step(&[])),
    ]);
    let other = StepDef {
        activity: ActivityRef {
            name: "test.step".to_owned(),
            version: 2,
        },
        ..step(&[])
    };
    let second = Definition {
        version: 2,
        input:
            json!({"type": "object", "properties": {"depth": {"type": "integer", "default": 3}}})
                .into(),
        ..workflow([("new", step(&[])), ("fails", other), ("keep", step(&[]))])
    };
    (first, second)
}

/// Executes a plan that gives a run that definition, and answers the fingerprint that the run has then.
async fn move_to(on: &Bench, job: Job, second: &Arc<Definition>) -> (Job, String) {
    let kept = DefinitionRecord {
        digest: second.digest(),
        ..record(second)
    };
    on.store.save_definition(&kept).await.unwrap();
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let edits = [RecordedEdit {
        edit: Edit::Definition {
            definition: "test:workflow@2".to_owned(),
            digest: second.digest(),
        },
        by: "a test".to_owned(),
        at: snapshot.run.created_at,
    }];
    let given = Given {
        onto: Some(second),
        edits: &edits,
        ..Given::of(&snapshot, &job.definition)
    };
    let plan = Box::new(plan::compute(PlanId::generate(), given));
    let identity = plan.identity.clone().unwrap();
    let job = Job {
        next: Some(second.clone()),
        ..job
    };
    on.fold(&job, Command::Reopen { plan }).await.unwrap();
    (job, identity.fingerprint)
}

/// See the name.
pub async fn another_definition_replaces_the_nodes_of_a_run_and_keeps_what_both_have(on: Bench) {
    let (first, second) = versions();
    let second = Arc::new(second);
    let job = on.submit(first).await;
    for claim in on.claim(&on.session().await, 3).await {
        match claim.fence.step.node.as_str() {
            "fails" => on
                .fold(&job, failed(&claim, ErrorClass::Input))
                .await
                .unwrap(),
            node => on.complete(&job, &claim, json!({"of": node})).await,
        }
    }
    let (job, fingerprint) = move_to(&on, job, &second).await;

    let on = on.reopen().await;
    let Snapshot {
        run,
        nodes,
        steps,
        former,
        ..
    } = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!((run.version, run.definition), (2, second.digest()));
    assert_eq!(run.input, json!({"depth": 3}));
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["new", "fails", "keep"]);
    let rows: Vec<_> = steps
        .iter()
        .map(|it| {
            (
                it.step.id.node.as_str(),
                it.step.activity.as_str(),
                it.step.status,
                it.attempts.len(),
            )
        })
        .collect();
    let expected = [
        ("new", "test.step@1", StepStatus::Ready, 0),
        ("fails", "test.step@2", StepStatus::Ready, 1),
        ("keep", "test.step@1", StepStatus::Succeeded, 1),
    ];
    assert_eq!(rows, expected);
    assert_eq!(steps[2].step.output, Some(json!({"of": "keep"})));
    let former: Vec<_> = former.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(former, ["gone"]);
    let found = on.store.find_run(&fingerprint).await.unwrap();
    assert_eq!(found, Some(job.id.clone()));
    let claim = on.claim_one(&on.session().await).await;
    assert_eq!(claim.fence.step, StepId::single("new"));
}
