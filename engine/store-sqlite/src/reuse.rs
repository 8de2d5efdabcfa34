//! What reuse keys are made of, and the keys under which steps are shared.

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use telecine_engine::id::RunId;
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::retry::reuse::Made;
use telecine_engine::store::{Shared, Sharer};

use crate::error::Error;
use crate::rows::{FullKey, cells};
use crate::save::{each, keys};
use crate::script::{Statement, over};

/// What the key of a step is made of, as `save_made.sql` takes it.
#[derive(Serialize)]
struct MadeCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    value: &'a Made,
}

/// A key as `share.sql` takes it.
#[derive(Serialize)]
struct SharedCells<'a> {
    #[serde(flatten)]
    step: FullKey<'a>,
    key: &'a str,
    media: &'a str,
    seal: &'a str,
}

/// Forgets what keys were made of that count no more, records what others are made of, and shares
/// steps. A statement is run only if there is something for it.
pub(crate) fn statements(
    changes: &[(RunId, Changes)],
) -> impl Iterator<Item = Result<Statement, Error>> + Send {
    let cleared = keys(each(changes, |changes| &changes.cleared));
    let made = each(changes, |changes| &changes.made);
    let made = made.map(|(run, (step, value))| MadeCells {
        step: FullKey::new(run, step),
        value,
    });
    let shared = each(changes, |changes| &changes.shared);
    let shares = shared.clone().next().is_some();
    let shared = shared.map(|(run, (step, shared))| {
        let Shared { key, media, seal } = shared;
        let step = FullKey::new(run, step);
        SharedCells {
            step,
            key,
            media,
            seal,
        }
    });
    let most = shares.then_some(limits::REUSE_KEYS);
    over(include_str!("sql/forget_made.sql"), cleared)
        .chain(over(include_str!("sql/save_made.sql"), made))
        .chain(over(include_str!("sql/share.sql"), shared))
        .chain(over(include_str!("sql/drop_shared.sql"), most.into_iter()))
}

/// The step that last shared what it made.
pub(crate) async fn find_shared(
    db: &mut SqliteConnection,
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
