//! The keys under which steps are shared.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::store::{Shared, Sharer};

use crate::error::Error;
use crate::rows::{StepKeys, cells, count};
use crate::save::Writing;

impl Writing<'_> {
    /// Shares steps, if there are some to be shared.
    pub(crate) async fn share(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        // One statement cannot write a row twice.
        let mut once: BTreeMap<(&str, &str), (&RunId, &StepId, &Shared)> = BTreeMap::new();
        for (run, changes) in changes {
            for (step, shared) in &changes.shared {
                once.insert((&shared.key, &shared.media), (run, step, shared));
            }
        }
        if once.is_empty() {
            return Ok(());
        }
        let (keys, media): (Vec<&str>, Vec<&str>) = once.keys().copied().unzip();
        let steps: StepKeys<'_> = once.values().map(|(run, step, _)| (*run, *step)).collect();
        let seals: Vec<&str> = once.values().map(|(.., it)| it.seal.as_str()).collect();
        sqlx::query(include_str!("sql/share.sql"))
            .bind(keys)
            .bind(media)
            .bind(&steps.runs)
            .bind(&steps.nodes)
            .bind(&steps.items)
            .bind(seals)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query(include_str!("sql/drop_shared.sql"))
            .bind(count(limits::REUSE_KEYS))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// The step that last shared what it made.
pub(crate) async fn find_shared(
    db: &mut PgConnection,
    (key, media): (&str, &str),
) -> Result<Option<Sharer>, Error> {
    let row = sqlx::query(include_str!("sql/find_shared.sql"))
        .bind(key)
        .bind(media)
        .fetch_optional(db)
        .await?;
    row.map(|row| {
        let row = cells(&row);
        Ok(Sharer {
            run: row.run_id()?,
            step: row.step_id()?,
            seal: row.text("seal")?,
        })
    })
    .transpose()
}
