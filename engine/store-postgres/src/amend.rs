//! What executing a retry plan changed besides steps.

use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::run::{Amendments, Node, Run};

use crate::error::Error;
use crate::rows::{item, narrow_count};
use crate::save::Writing;

impl Writing<'_> {
    /// Writes what was amended, and drops what was recorded of damaged objects. Most transactions have
    /// nothing of that.
    pub(crate) async fn amended(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        for (id, changes) in changes {
            if let (Some(run), Some(amendments)) = (&changes.run, &changes.amendments) {
                self.amend(run, amendments).await?;
                self.place(id, &changes.nodes).await?;
            }
            for (step, keys) in &changes.dropped {
                self.drop_objects((id, step), keys).await?;
            }
        }
        Ok(())
    }

    async fn amend(&mut self, run: &Run, amendments: &Amendments) -> Result<(), Error> {
        let amendments = Some(amendments).filter(|amendments| !amendments.is_empty());
        sqlx::query(include_str!("sql/amend_run.sql"))
            .bind(run.id.as_str())
            .bind(&run.workflow)
            .bind(narrow_count(run.version))
            .bind(&run.definition)
            .bind(&run.fingerprint)
            .bind(run.queue.as_str())
            .bind(run.priority)
            .bind(amendments.map(serde_json::to_string).transpose()?)
            .bind(serde_json::to_string(&run.input)?)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn place(&mut self, run: &RunId, nodes: &[Node]) -> Result<(), Error> {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let places: Vec<i32> = (0..).take(names.len()).collect();
        sqlx::query(include_str!("sql/place_steps.sql"))
            .bind(run.as_str())
            .bind(names)
            .bind(places)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn drop_objects(
        &mut self,
        (run, step): (&RunId, &StepId),
        keys: &[String],
    ) -> Result<(), Error> {
        sqlx::query(include_str!("sql/drop_artifacts.sql"))
            .bind(run.as_str())
            .bind(&step.node)
            .bind(item(step))
            .bind(keys)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}
