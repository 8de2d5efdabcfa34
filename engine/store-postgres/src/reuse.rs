//! What reuse keys are made of, and the keys under which steps are shared.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::store::{Shared, Sharer};

use crate::error::Error;
use crate::rows::{StepKeys, cells, count};
use crate::save::{Writing, each};

impl Writing<'_> {
    /// Forgets what keys were made of that count no more, records what others are made of, and shares
    /// steps. A statement is run only if there is something for it.
    pub(crate) async fn reuse(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let cleared: StepKeys<'_> = each(changes, |changes| &changes.cleared).collect();
        if !cleared.is_empty() {
            sqlx::query(include_str!("sql/forget_made.sql"))
                .bind(&cleared.runs)
                .bind(&cleared.nodes)
                .bind(&cleared.items)
                .execute(&mut *self.connection)
                .await?;
        }
        self.save_made(changes).await?;
        self.share(changes).await
    }

    async fn save_made(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
        let (mut steps, mut values) = (StepKeys::default(), Vec::new());
        for (run, changes) in changes {
            for (step, made) in &changes.made {
                steps.push(run, step);
                values.push(serde_json::to_string(made)?);
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/save_made.sql"))
            .bind(&steps.runs)
            .bind(&steps.nodes)
            .bind(&steps.items)
            .bind(&values)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn share(&mut self, changes: &[(RunId, Changes)]) -> Result<(), Error> {
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
