//! What executing a retry plan changed besides steps.

use serde::Serialize;
use serde_json::Value;
use telecine_engine::id::RunId;
use telecine_engine::machine::Changes;
use telecine_engine::run::{Amendments, Run};

use crate::error::Error;
use crate::rows::FullKey;
use crate::save::each;
use crate::script::{Statement, over};

/// A run as `amend_runs.sql` takes it.
#[derive(Serialize)]
struct AmendedCells<'a> {
    id: &'a str,
    workflow: &'a str,
    version: u32,
    definition: &'a str,
    fingerprint: &'a str,
    queue: &'static str,
    priority: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    amendments: Option<&'a Amendments>,
    input: &'a Value,
}

/// A run whose nodes have other places, as `place_steps.sql` takes it.
#[derive(Serialize)]
struct PlacedCells<'a> {
    run: &'a str,
    nodes: Vec<&'a str>,
}

/// Objects of a step, as `drop_artifacts.sql` and `drop_checkpoint_objects.sql` take them.
#[derive(Serialize)]
struct DroppedCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    keys: &'a [String],
}

/// Writes what was amended, and drops what was recorded of damaged objects. Most transactions have
/// nothing of that.
pub(crate) fn statements(
    changes: &[(RunId, Changes)],
) -> impl Iterator<Item = Result<Statement, Error>> + Send {
    let amended = changes.iter().filter_map(|(_, changes)| {
        let (run, amendments) = (changes.run.as_ref()?, changes.amendments.as_ref()?);
        Some(cells(run, amendments))
    });
    let placed = changes.iter().filter(|(_, it)| it.amendments.is_some());
    let placed = placed.map(|(run, changes)| PlacedCells {
        run: run.as_str(),
        nodes: changes.nodes.iter().map(|it| it.name.as_str()).collect(),
    });
    let dropped = each(changes, |changes| &changes.dropped);
    let dropped = dropped.map(|(run, (step, keys))| DroppedCells {
        step: FullKey::new(run, step),
        keys,
    });
    let objects = dropped.clone();
    over(include_str!("sql/amend_runs.sql"), amended)
        .chain(over(include_str!("sql/place_steps.sql"), placed))
        .chain(over(include_str!("sql/drop_artifacts.sql"), dropped))
        .chain(over(
            include_str!("sql/drop_checkpoint_objects.sql"),
            objects,
        ))
}

fn cells<'a>(run: &'a Run, amendments: &'a Amendments) -> AmendedCells<'a> {
    AmendedCells {
        id: run.id.as_str(),
        workflow: &run.workflow,
        version: run.version,
        definition: &run.definition,
        fingerprint: &run.fingerprint,
        queue: run.queue.as_str(),
        priority: run.priority,
        amendments: Some(amendments).filter(|amendments| !amendments.is_empty()),
        input: &run.input,
    }
}
