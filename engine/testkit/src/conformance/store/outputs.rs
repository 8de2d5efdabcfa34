//! What steps yield to the steps that name them.

use serde_json::{Value, json};
use telecine_engine::activity::ErrorClass;
use telecine_engine::definition::{OnFailure, StepDef};

use super::{Bench, Job, expr, failed, fan_out, single, step, workflow};

async fn outputs(on: &Bench, job: &Job, nodes: &[&str]) -> Value {
    let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    let mut tx = on.store.begin().await.unwrap();
    json!(super::outputs(tx.as_mut(), &job.id, &nodes).await)
}

/// See the name.
pub async fn the_output_of_a_single_step_is_its_value(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.complete(&job, &claim, json!({"n": [1, 2]})).await;
    assert_eq!(
        outputs(&on, &job, &["only"]).await,
        json!({"only": {"n": [1, 2]}})
    );
}

/// Of more than ten, so that text order would be seen.
pub async fn outputs_of_a_fan_out_are_in_the_order_of_its_list(on: Bench) {
    let job = on.submit(fan_out(12)).await;
    let claims = on.claim(&on.session().await, 12).await;
    for claim in claims.iter().rev() {
        on.complete(&job, claim, json!(claim.fence.step.item)).await;
    }
    let expected = json!({"each": (0..12).collect::<Vec<_>>()});
    assert_eq!(outputs(&on, &job, &["each"]).await, expected);
}

/// See the name.
pub async fn a_fan_out_of_nothing_has_an_empty_list(on: Bench) {
    let job = on.submit(fan_out(0)).await;
    assert_eq!(outputs(&on, &job, &["each"]).await, json!({"each": []}));
}

/// It failed and others go on, or it was skipped; in a list, `null` stands at its place.
pub async fn a_step_without_an_output_yields_null(on: Bench) {
    let tolerated = |step: StepDef| StepDef {
        on_failure: OnFailure::Continue,
        ..step
    };
    let definition = workflow([
        (
            "skipped",
            StepDef {
                when: Some(expr("false")),
                ..step(&[])
            },
        ),
        ("fails", tolerated(step(&[]))),
        (
            "each",
            tolerated(StepDef {
                for_each: Some(expr("[1, 2, 3]")),
                ..step(&[])
            }),
        ),
    ]);
    let job = on.submit(definition).await;
    let claims = on.claim(&on.session().await, 9).await;
    for claim in &claims {
        if ["fails", "each[1]"].contains(&claim.fence.step.to_string().as_str()) {
            on.fold(&job, failed(claim, ErrorClass::Input))
                .await
                .unwrap();
        } else {
            on.complete(&job, claim, json!("done")).await;
        }
    }
    let expected = json!({"skipped": null, "fails": null, "each": ["done", null, "done"]});
    assert_eq!(
        outputs(&on, &job, &["each", "fails", "skipped"]).await,
        expected
    );
}

/// See the name.
pub async fn a_fan_out_that_was_never_opened_yields_null(on: Bench) {
    let skipped = StepDef {
        when: Some(expr("false")),
        for_each: Some(expr("[1, 2]")),
        ..step(&[])
    };
    let job = on.submit(workflow([("each", skipped)])).await;
    assert_eq!(outputs(&on, &job, &["each"]).await, json!({"each": null}));
}

/// See the name.
pub async fn only_nodes_asked_for_are_answered(on: Bench) {
    let job = on
        .submit(workflow([("a", step(&[])), ("b", step(&[]))]))
        .await;
    for claim in on.claim(&on.session().await, 2).await {
        on.complete(&job, &claim, json!(claim.fence.step)).await;
    }
    assert_eq!(outputs(&on, &job, &["b"]).await, json!({"b": "b"}));
    assert_eq!(outputs(&on, &job, &[]).await, json!({}));
    assert_eq!(outputs(&on, &job, &["nobody"]).await, json!({}));
}
