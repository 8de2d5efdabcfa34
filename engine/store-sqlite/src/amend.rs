//! What executing a retry plan changed besides steps.

use serde::Serialize;
use serde_json::Value;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::run::{Amendments, Node, Run};

use crate::error::Error;
use crate::rows::item;
use crate::save::Writing;

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

impl Writing<'_> {
    /// Writes what was amended, and drops what was recorded of damaged objects. Most transactions have
    /// nothing of that.
    pub(crate) async fn amended(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let amended = changes.iter().filter_map(|(_, changes)| {
            let (run, amendments) = (changes.run.as_ref()?, changes.amendments.as_ref()?);
            Some(cells(run, amendments))
        });
        self.many(include_str!("sql/amend_runs.sql"), amended)
            .await?;
        for (run, changes) in changes {
            if changes.amendments.is_some() {
                self.place(run, &changes.nodes).await?;
            }
            for (step, keys) in &changes.dropped {
                self.drop_objects((run, step), keys).await?;
            }
        }
        Ok(())
    }

    async fn place(&mut self, run: &RunId, nodes: &[Node]) -> Result<(), Error> {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        sqlx::query(include_str!("sql/place_steps.sql"))
            .bind(run.as_str())
            .bind(serde_json::to_string(&names)?)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn drop_objects(
        &mut self,
        (run, step): (&RunId, &StepId),
        keys: &[String],
    ) -> Result<(), Error> {
        for sql in [
            include_str!("sql/drop_artifacts.sql"),
            include_str!("sql/drop_checkpoint_objects.sql"),
        ] {
            sqlx::query(sql)
                .bind(run.as_str())
                .bind(&step.node)
                .bind(item(step))
                .bind(serde_json::to_string(keys)?)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
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
