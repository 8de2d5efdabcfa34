//! Definitions that a process keeps.

use std::sync::Arc;

use telecine_engine::definition::{Definition, validate};
use telecine_engine::definitions::Definitions;

use crate::stage::{Home, Stage};

const ROUNDS: u32 = 64;

fn definition(stage: &Stage, version: u32) -> Arc<Definition> {
    let text = format!(
        "workflow: test:kept\nversion: {version}\nsteps: {{a: {{activity: test.act@1, with: {{what: succeed}}}}}}\n"
    );
    let definition = validate(&text, stage.parts.registry.as_ref());
    Arc::new(definition.unwrap_or_else(|errors| panic!("{errors:?}")))
}

#[tokio::test]
async fn a_definition_has_its_own_digest_wherever_others_have_been() {
    let stage = Stage::on(Home::sqlite().await).await;
    let definitions = Definitions::new(stage.parts.store.clone());
    for round in 1..=ROUNDS {
        let first = definition(&stage, 2 * round);
        let digest = definitions.save(&first).await.unwrap();
        assert_eq!(digest, first.digest());
        // An equal one takes its place, and then something else may be where it was.
        let equal = definition(&stage, 2 * round);
        assert_eq!(definitions.save(&equal).await.unwrap(), digest);
        drop(first);
        let other = definition(&stage, 2 * round + 1);
        assert_eq!(definitions.digest(&other), other.digest());
        assert_eq!(definitions.digest(&equal), digest);
    }
}
