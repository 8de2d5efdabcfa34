//! What the machine changed is what is there afterwards.

use chrono::TimeDelta;
use serde_json::json;
use telecine_engine::activity::{ErrorClass, Progress};
use telecine_engine::definition::{OnFailure, StepDef};
use telecine_engine::id::StepId;
use telecine_engine::machine::{Command, Rejected};
use telecine_engine::run::{AttemptOutcome, Run, RunStatus, Running, Step, StepStatus};
use telecine_engine::store::{Outcome, StepSet};

use super::{
    Bench, assert_began_alike, changes_of_steps, expr, failed, failure, fan_out, queued, single,
    step, workflow,
};

/// See the name.
pub async fn a_chain_runs_to_its_end(on: Bench) {
    let job = on
        .submit(workflow([
            ("a", step(&[])),
            ("b", step(&["a"])),
            ("c", step(&["b"])),
        ]))
        .await;
    let session = on.session().await;
    for name in ["a", "b", "c"] {
        let claim = on.claim_one(&session).await;
        assert_eq!(claim.fence.step, StepId::single(name));
        on.complete(&job, &claim, json!({"by": name})).await;
    }
    let run = on.run(&job).await;
    assert_eq!(run.status, RunStatus::Succeeded);
    assert_eq!(run.output, Some(json!(null)));
    assert!(run.ended_at >= run.started_at && run.started_at >= Some(run.created_at));
    assert!(on.claim(&session, 1).await.is_empty());
    let nodes = on.store.snapshot(&job.id).await.unwrap().nodes;
    assert!(
        nodes
            .iter()
            .all(|node| node.status == StepStatus::Succeeded && node.settled == 1)
    );
}

/// See the name.
pub async fn events_are_numbered_without_gaps(on: Bench) {
    let (one, other) = (on.submit(fan_out(3)).await, on.submit(fan_out(2)).await);
    let session = on.session().await;
    for claim in on.claim(&session, 5).await {
        let job = if claim.fence.run == one.id {
            &one
        } else {
            &other
        };
        on.complete(job, &claim, json!(1)).await;
    }
    for job in [one, other] {
        let events = on.events(&job).await;
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        assert!(events.is_sorted_by_key(|event| event.at));
        assert_eq!(events[0].event.kind, "run.submitted");
        assert_eq!(events[events.len() - 1].event.kind, "run.succeeded");
    }
}

/// See the name.
pub async fn events_are_read_in_pages(on: Bench) {
    let job = on.submit(fan_out(40)).await;
    on.claim(&on.session().await, 40).await;
    let all = on.events(&job).await;
    assert!(all.len() > 40, "{}", all.len());
    for after in 0..=all.len() {
        for limit in [1, 3, 17, 100] {
            let page = on.store.events(&job.id, after as u64, limit).await.unwrap();
            let rest = &all[after..];
            assert_eq!(page, rest[..limit.min(rest.len())], "{limit} after {after}");
        }
    }
}

/// See the name.
pub async fn a_wide_fan_out_opens_and_closes(on: Bench) {
    const ITEMS: usize = 2_000;
    let list = StepDef {
        for_each: Some(expr("input.list")),
        ..step(&[])
    };
    let definition = workflow([("each", list)]);
    let run = queued(&definition, json!({"list": (0..ITEMS).collect::<Vec<_>>()}));
    let job = on.submit_run(definition, run).await;
    let session = on.session().await;
    let claims = on.claim(&session, ITEMS).await;
    assert_eq!(claims.len(), ITEMS);
    let mut tx = on.store.begin().await.unwrap();
    for claim in &claims {
        let (step, fence) = (claim.fence.step.clone(), claim.fence.fence);
        let outcome = Outcome {
            output: json!(step.item),
            ..Outcome::default()
        };
        let complete = Command::Complete {
            step,
            fence,
            outcome,
        };
        super::fold(tx.as_mut(), &job, &complete, TimeDelta::zero())
            .await
            .unwrap();
    }
    let outputs = super::outputs(tx.as_mut(), &job.id, &["each".to_owned()]).await;
    tx.commit().await.unwrap();
    assert_eq!(outputs["each"], json!((0..ITEMS).collect::<Vec<_>>()));
    assert_eq!(on.run(&job).await.status, RunStatus::Succeeded);
}

/// See the name.
pub async fn a_step_keeps_every_field(on: Bench) {
    let job = on.submit(fan_out(1)).await;
    let session = on.session().await;
    on.claim_one(&session).await;
    let mut tx = on.store.begin().await.unwrap();
    let now = tx.now().await.unwrap();
    let full = Step {
        status: StepStatus::Running,
        input: Some(json!({"a": 1})),
        output: Some(json!(["kept"])),
        error: Some(Box::new(failure(ErrorClass::Stalled))),
        reason: Some("because \"so\"\n".to_owned()),
        fence: 7,
        attempts: 6,
        charged: 5,
        losses: 4,
        outages: 9,
        checkpoint_failures: 3,
        running: Some(Box::new(Running {
            session,
            claimed_at: now - TimeDelta::milliseconds(500),
            resumed_from: Some(2),
        })),
        deadline_at: Some(now + TimeDelta::seconds(5)),
        progress: Some(Box::new(Progress {
            counter: u64::MAX >> 1,
            fps: Some(0.1),
            ..Progress::default()
        })),
        warnings: vec!["one".to_owned(), "zwölf".to_owned()],
        round: 2,
        started_at: Some(now - TimeDelta::seconds(1)),
        ended_at: Some(now),
        ..Step::pending(StepId::item("each", 0), "test.step@1".to_owned(), 1)
    };
    let waiting = Step {
        status: StepStatus::Backoff,
        running: None,
        deadline_at: None,
        due_at: Some(now + TimeDelta::milliseconds(1)),
        ..full.clone()
    };
    let bare = Step {
        // That of the claim: a step never loses its input.
        input: Some(json!({"behaviour": "succeed"})),
        // The one that was claimed above: the number of attempts never falls.
        attempts: 1,
        ..Step::pending(StepId::item("each", 0), "test.step@1".to_owned(), 1)
    };
    for step in [bare, full, waiting] {
        let changes = changes_of_steps(tx.as_mut(), &job.id, vec![step.clone()]).await;
        super::save(tx.as_mut(), &job.id, changes).await;
        assert_eq!(
            super::steps(tx.as_mut(), &job.id, StepSet::All).await,
            [step]
        );
    }
}

/// Numbers of any size, text of any script, null that is a value and null that is none.
pub async fn json_is_kept_exactly(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let odd = json!({
        "largest": u64::MAX, "smallest": i64::MIN, "third": 1.0 / 3.0, "tiny": 5e-324, "one": 1.0,
        "text": "\u{0}\u{1f}\"\\/ \u{2028} 日本 \u{1f600} </script> 'quoted' $1 ?",
        "deep": [[[[{"": {"a.b": null, "$": [], "x[0]": {}}}]]]],
    });
    on.complete(&job, &claim, odd.clone()).await;
    assert_eq!(on.step(&job, "only").await.output, Some(odd));
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    assert_eq!(on.step(&job, "only").await.output, None);
    on.complete(&job, &claim, json!(null)).await;
    assert_eq!(on.step(&job, "only").await.output, Some(json!(null)));
}

/// See the name.
pub async fn pending_steps_of_a_settled_node_take_its_state(on: Bench) {
    let skipped = StepDef {
        when: Some(expr("false")),
        ..step(&[])
    };
    let definition = workflow([
        ("fails", step(&[])),
        ("behind", step(&["fails"])),
        ("skipped", skipped),
        ("after", step(&["skipped"])),
    ]);
    let job = on.submit(definition).await;
    let claim = on.claim_one(&on.session().await).await;
    on.fold(&job, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    let behind = on.step(&job, "behind").await;
    assert_eq!(behind.status, StepStatus::Blocked);
    assert_eq!(behind.reason.as_deref(), Some("fails failed"));
    assert!(behind.ended_at.is_some());
    for name in ["skipped", "after"] {
        let step = on.step(&job, name).await;
        assert_eq!(step.status, StepStatus::Skipped, "{name}");
        assert!(step.reason.is_some(), "{name}");
    }
    let run = on.run(&job).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().code, "test_failure");
}

/// Its old steps are gone with all that belongs to them; the history stays.
pub async fn a_collapsed_node_is_read_anew(on: Bench) {
    let job = on.submit(fan_out(3)).await;
    let claim = on.claim(&on.session().await, 1).await.remove(0);
    on.complete(&job, &claim, json!(1)).await;
    let before = on.events(&job).await.len();
    let anew = Step::pending(StepId::item("each", 1), "test.step@1".to_owned(), 2);
    let mut tx = on.store.begin().await.unwrap();
    let changes = telecine_engine::machine::Changes {
        collapsed: vec!["each".to_owned()],
        ..changes_of_steps(tx.as_mut(), &job.id, vec![anew.clone()]).await
    };
    super::save(tx.as_mut(), &job.id, changes).await;
    tx.commit().await.unwrap();
    let steps = on.store.snapshot(&job.id).await.unwrap().steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].step, anew);
    assert!(steps[0].artifacts.is_empty());
    assert_eq!(on.events(&job).await.len(), before);
}

/// The attempts of an earlier round are its history: they stay with the item of that place, and are
/// told apart when the list has become shorter.
pub async fn attempts_outlive_the_list_that_they_were_made_for(on: Bench) {
    let job = on.submit(fan_out(3)).await;
    let session = on.session().await;
    for claim in on.claim(&session, 3).await {
        on.complete(&job, &claim, json!(1)).await;
    }
    let anew = Step {
        status: StepStatus::Ready,
        input: Some(json!({})),
        ..Step::pending(StepId::item("each", 1), "test.step@1".to_owned(), 2)
    };
    let mut tx = on.store.begin().await.unwrap();
    let changes = changes_of_steps(tx.as_mut(), &job.id, vec![anew]).await;
    let run = changes.run.clone().unwrap();
    let changes = telecine_engine::machine::Changes {
        run: Some(Run { round: 2, ..run }),
        collapsed: vec!["each".to_owned()],
        ..changes
    };
    super::save(tx.as_mut(), &job.id, changes).await;
    tx.commit().await.unwrap();

    let claim = on.claim_one(&session).await;
    assert_eq!(claim.attempt, 2, "attempts are numbered over all rounds");
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let [step] = snapshot.steps.as_slice() else {
        panic!("one step: {snapshot:?}")
    };
    let numbers: Vec<_> = step.attempts.iter().map(|attempt| attempt.n).collect();
    assert_eq!(numbers, [1, 2]);
    let former: Vec<_> = snapshot
        .former
        .iter()
        .map(|(id, _)| id.to_string())
        .collect();
    assert_eq!(former, ["each[0]", "each[2]"]);
    assert_eq!(
        snapshot.former[0].1.outcome,
        Some(AttemptOutcome::Succeeded)
    );
    assert_eq!(step.attempts[1].round, 2);
    on.complete(&job, &claim, json!(2)).await;
    let ended = on.store.snapshot(&job.id).await.unwrap();
    assert_began_alike(&ended.steps[0].attempts[1], &step.attempts[1]);
}

/// See the name.
pub async fn a_rejected_command_changes_nothing(on: Bench) {
    let held = StepDef {
        on_failure: OnFailure::Hold,
        ..step(&[])
    };
    let job = on.submit(workflow([("only", held)])).await;
    let claim = on.claim_one(&on.session().await).await;
    on.fold(&job, failed(&claim, ErrorClass::Input))
        .await
        .unwrap();
    assert_eq!(on.run(&job).await.status, RunStatus::Held);
    let before = (
        on.store.snapshot(&job.id).await.unwrap(),
        on.events(&job).await,
    );
    let wake = Command::Wake {
        step: StepId::single("only"),
    };
    assert!(matches!(
        on.fold(&job, wake).await,
        Err(Rejected::Conflict(_))
    ));
    assert_eq!(
        (
            on.store.snapshot(&job.id).await.unwrap(),
            on.events(&job).await
        ),
        before
    );
}
