//! One run of many steps that do nothing, on one process and on four: what it costs that several
//! processes take turns on one run.

use std::time::Duration;

use crate::figures::{Bound, Due, median, number, print_table};
use crate::place::{Kind, Place};
use crate::process;
use crate::roles::{Opened, Role, Width};
use crate::server::Server;
use crate::subject::Subject;

const STEPS: usize = 10_000;
/// Time enough for a machine that is busy.
const WITHIN: Duration = Duration::from_secs(120);
const PROCESSES: [usize; 2] = [1, 4];

/// What the steps cost on so many processes.
#[derive(Debug, Clone, Copy)]
struct Spread {
    per_second: f64,
    /// Of all processes and of the server.
    cpu_ms: f64,
}

/// Runs it on both, in turn, on each store.
pub(crate) async fn measure(server: Option<&Server>, rounds: usize) -> Vec<Due> {
    let mut rows = Vec::new();
    let mut dues = Vec::new();
    for kind in Kind::ALL {
        match medians(kind, server, rounds).await {
            Ok(medians) => {
                rows.extend(PROCESSES.iter().zip(medians).map(|(processes, spread)| {
                    vec![
                        kind.title().to_owned(),
                        processes.to_string(),
                        number(spread.per_second),
                        number(spread.cpu_ms),
                        process::load(),
                    ]
                }));
                let title = kind.title();
                dues.push(Due {
                    what: format!(
                        "{title}, {STEPS} steps of a run: rate of four processes over one"
                    ),
                    measured: medians[1].per_second / medians[0].per_second,
                    due: Bound::AtLeast(0.5),
                });
            }
            Err(trouble) => rows.push(vec![kind.title().to_owned(), trouble]),
        }
    }
    print_table(
        &["steps of one run", "processes", "steps/s", "CPU ms", "load"],
        &rows,
    );
    dues
}

async fn medians(
    kind: Kind,
    server: Option<&Server>,
    rounds: usize,
) -> Result<[Spread; 2], String> {
    let mut measured = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (spreads, processes) in measured.iter_mut().zip(PROCESSES) {
            let place = Place::new(kind, server).await?;
            let spread = spread(&place, processes).await;
            place.clear().await;
            spreads.push(spread?);
        }
    }
    Ok(measured.map(|spreads| Spread {
        per_second: median(spreads.iter().map(|spread| spread.per_second)),
        cpu_ms: median(spreads.iter().map(|spread| spread.cpu_ms)),
    }))
}

async fn spread(place: &Place, processes: usize) -> Result<Spread, String> {
    // The first one submits, too.
    let mut subjects = vec![Subject::start(Role::RunFanOut.command(place.address())).await?];
    for _ in 1..processes {
        subjects.push(Subject::start(Role::Work.command(place.address())).await?);
    }
    let cpu = |subjects: &[Subject]| {
        let server = place.server().map(Server::cpu).unwrap_or_default();
        subjects.iter().map(Subject::cpu).sum::<Duration>() + server
    };
    let before = cpu(&subjects);
    let done: Opened = subjects[0].ask(&Width { steps: STEPS }, WITHIN).await?;
    let spent = cpu(&subjects).saturating_sub(before);
    Ok(Spread {
        per_second: STEPS as f64 / done.seconds,
        cpu_ms: spent.as_secs_f64() * 1e3 / STEPS as f64,
    })
}
