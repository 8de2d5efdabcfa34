//! One run of very many steps: how long until all of them can be claimed, and what memory that takes.

use std::time::Duration;

use crate::figures::{Bound, Due, number, print_table};
use crate::place::{Kind, Place};
use crate::process;
use crate::roles::{Opened, Role, Width};
use crate::server::Server;
use crate::subject::Subject;

/// The most that a run may have, less the one that lists them.
const STEPS: usize = 99_999;
/// Time enough for a machine that is busy.
const WITHIN: Duration = Duration::from_secs(60);

/// Opens one on each store.
pub(crate) async fn measure(server: Option<&Server>) -> Vec<Due> {
    let mut rows = Vec::new();
    let mut dues = Vec::new();
    for kind in Kind::ALL {
        match open(kind, server).await {
            Ok(opened) => {
                rows.push(vec![
                    kind.title().to_owned(),
                    STEPS.to_string(),
                    number(opened.seconds),
                    opened.peak_mib.to_string(),
                    process::load(),
                ]);
                dues.extend(opened.dues(kind));
            }
            Err(trouble) => rows.push(vec![kind.title().to_owned(), trouble]),
        }
    }
    print_table(
        &[
            "fan-out",
            "steps",
            "can be claimed after s",
            "peak MiB",
            "load",
        ],
        &rows,
    );
    dues
}

async fn open(kind: Kind, server: Option<&Server>) -> Result<Opened, String> {
    let place = Place::new(kind, server).await?;
    let mut subject = Subject::start(Role::OpenFanOut.command(place.address())).await?;
    let opened = subject.ask(&Width { steps: STEPS }, WITHIN).await;
    drop(subject);
    place.clear().await;
    opened
}

impl Opened {
    fn dues(&self, kind: Kind) -> [Due; 2] {
        let store = kind.title();
        [
            Due {
                what: format!("{store}, fan-out of {STEPS}: s until all can be claimed"),
                measured: self.seconds,
                due: Bound::AtMost(5.0),
            },
            Due {
                what: format!("{store}, fan-out of {STEPS}: peak MiB"),
                measured: self.peak_mib as f64,
                due: Bound::AtMost(256.0),
            },
        ]
    }
}
