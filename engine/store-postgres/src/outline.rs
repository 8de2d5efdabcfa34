//! Runs of which only some steps are read.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use telecine_engine::id::RunId;
use telecine_engine::run::Run;
use telecine_engine::store::{Outline, StoreError, Stretch, ViewRows, Window};

use crate::error::Error;
use crate::read::{self, Rows};
use crate::rows::cells;

/// A run with the steps of a window, in a transaction that sees one commit.
pub(crate) async fn outline(
    db: &mut PgConnection,
    id: &RunId,
    window: &Window,
) -> Result<Outline, Error> {
    let view = read::view_of(db, id).await?;
    let view = view.ok_or_else(|| StoreError::NoRun(id.clone()))?;
    let former = former(db, &view).await?;
    let cut = window.cut(&view.nodes, &former);
    let steps = within(
        db,
        (id, &cut.steps),
        include_str!("sql/load_steps_within.sql"),
    )
    .await?;
    let attempts = within(
        db,
        (id, &cut.steps),
        include_str!("sql/load_attempts_within.sql"),
    )
    .await?;
    let artifacts = within(
        db,
        (id, &cut.artifacts),
        include_str!("sql/load_artifacts_within.sql"),
    )
    .await?;
    let made = within(
        db,
        (id, &cut.steps),
        include_str!("sql/load_made_within.sql"),
    )
    .await?;
    let rows = Rows {
        steps,
        attempts,
        artifacts,
        made,
    };
    Ok(Outline {
        snapshot: rows.snapshot(view)?,
        total: cut.total,
        last: cut.last,
    })
}

/// How long the lists of nodes were in earlier rounds, as far as attempts are left of them.
async fn former(db: &mut PgConnection, view: &ViewRows) -> Result<BTreeMap<String, u32>, Error> {
    let Run { id, round, .. } = &view.run;
    if *round == 1 {
        return Ok(BTreeMap::new());
    }
    let nodes: Vec<&str> = view.nodes.iter().map(|node| node.name.as_str()).collect();
    let rows = sqlx::query(include_str!("sql/last_attempted.sql"))
        .bind(id.as_str())
        .bind(nodes)
        .fetch_all(db)
        .await?;
    let length = |row: &PgRow| {
        let row = cells(row);
        Ok((row.text("node")?, row.item_count("item")?))
    };
    rows.iter().map(length).collect()
}

async fn within(
    db: &mut PgConnection,
    (run, stretches): (&RunId, &[Stretch]),
    sql: &'static str,
) -> Result<Vec<PgRow>, Error> {
    let nodes: Vec<&str> = stretches.iter().map(|it| it.node.as_str()).collect();
    let first: Vec<i32> = stretches.iter().map(|it| it.first).collect();
    let last: Vec<i32> = stretches.iter().map(|it| it.last).collect();
    let query = sqlx::query(sql).bind(run.as_str());
    Ok(query
        .bind(nodes)
        .bind(first)
        .bind(last)
        .fetch_all(db)
        .await?)
}
