//! Runs of which only some steps are read.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use telecine_engine::id::RunId;
use telecine_engine::run::Run;
use telecine_engine::store::{Outline, StoreError, Stretch, ViewRows, Window};

use crate::error::Error;
use crate::read::{self, Rows};
use crate::rows::cells;

/// A run with the steps of a window, in a transaction that sees one commit.
pub(crate) async fn outline(
    db: &mut SqliteConnection,
    id: &RunId,
    window: &Window,
) -> Result<Outline, Error> {
    let view = read::view(db, id).await?;
    let view = view.ok_or_else(|| StoreError::NoRun(id.clone()))?;
    let former = former(db, &view).await?;
    let cut = window.cut(&view.nodes, &former);
    let (steps, artifacts) = (parts(&cut.steps)?, parts(&cut.artifacts)?);
    let rows = Rows {
        steps: within(db, (id, &steps), include_str!("sql/load_steps_within.sql")).await?,
        attempts: within(
            db,
            (id, &steps),
            include_str!("sql/load_attempts_within.sql"),
        )
        .await?,
        checkpoint_objects: within(
            db,
            (id, &artifacts),
            include_str!("sql/load_checkpoint_objects_within.sql"),
        )
        .await?,
        artifacts: within(
            db,
            (id, &artifacts),
            include_str!("sql/load_artifacts_within.sql"),
        )
        .await?,
        made: within(db, (id, &steps), include_str!("sql/load_made_within.sql")).await?,
    };
    Ok(Outline {
        snapshot: rows.snapshot(view)?,
        total: cut.total,
        last: cut.last,
    })
}

/// How long the lists of nodes were in earlier rounds, as far as attempts are left of them.
async fn former(
    db: &mut SqliteConnection,
    view: &ViewRows,
) -> Result<BTreeMap<String, u32>, Error> {
    let Run { id, round, .. } = &view.run;
    if *round == 1 {
        return Ok(BTreeMap::new());
    }
    let nodes: Vec<&str> = view.nodes.iter().map(|node| node.name.as_str()).collect();
    let rows = sqlx::query(include_str!("sql/last_attempted.sql"))
        .bind(id.as_str())
        .bind(serde_json::to_string(&nodes)?)
        .fetch_all(db)
        .await?;
    let length = |row: &SqliteRow| {
        let row = cells(row);
        Ok((row.text("node")?, row.item_count("item")?))
    };
    rows.iter().map(length).collect()
}

/// A stretch as statements take it.
#[derive(Serialize)]
struct Part<'a> {
    node: &'a str,
    first: i32,
    last: i32,
}

fn parts(stretches: &[Stretch]) -> Result<String, Error> {
    let parts = stretches.iter().map(|stretch| Part {
        node: &stretch.node,
        first: stretch.first,
        last: stretch.last,
    });
    Ok(serde_json::to_string(&parts.collect::<Vec<_>>())?)
}

async fn within(
    db: &mut SqliteConnection,
    (run, parts): (&RunId, &str),
    sql: &'static str,
) -> Result<Vec<SqliteRow>, Error> {
    let query = sqlx::query(sql).bind(run.as_str()).bind(parts);
    Ok(query.fetch_all(db).await?)
}
