//! What was measured: costs, medians, tables, and what is due.

use std::time::Duration;

use crate::server::Server;
use crate::subject::{Load, Subject};

/// Run before and after what is counted, so that every connection tells the server what it has done: one
/// does so with its next transaction if a second has passed.
const FLUSH: Load = Load {
    workflows: 64,
    in_flight: 64,
    seconds: 10,
    pause_ms: 0,
};
const FLUSHED: Duration = Duration::from_millis(1100);

/// What workflows cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) per_second: f64,
    /// For each workflow, of everything that runs, the database included.
    pub(crate) cpu_ms: f64,
    /// For each workflow, of those on Postgres.
    pub(crate) counted: Option<Counted>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) commits: f64,
    pub(crate) syncs: f64,
    pub(crate) wal_bytes: f64,
}

impl Cost {
    /// Gives a subject, which is on a database of `server` if it is on any, workflows to run.
    pub(crate) async fn measure(
        subject: &mut Subject,
        server: Option<&Server>,
        load: Load,
    ) -> Result<Self, String> {
        let cpu = |subject: &Subject| subject.cpu() + server.map(Server::cpu).unwrap_or_default();
        if server.is_some() {
            flush(subject).await?;
        }
        let counters = match server {
            Some(server) => Some(server.counters().await),
            None => None,
        };
        let before = cpu(subject);
        let done = subject.run(load).await?;
        let spent = cpu(subject).saturating_sub(before);
        let workflows = done.latencies_ms.len() as f64;
        let mut counted = None;
        if let (Some(server), Some(before)) = (server, counters) {
            flush(subject).await?;
            let since = server.counters().await.since(&before);
            let per = |count: u64| count as f64 / (workflows + FLUSH.workflows as f64);
            counted = Some(Counted {
                commits: per(since.commits),
                syncs: per(since.syncs),
                wal_bytes: per(since.wal_bytes),
            });
        }
        Ok(Self {
            per_second: workflows / done.seconds,
            cpu_ms: spent.as_secs_f64() * 1e3 / workflows,
            counted,
        })
    }

    /// The middle of several, figure by figure.
    pub(crate) fn median(costs: &[Self]) -> Self {
        let counted: Option<Vec<Counted>> = costs.iter().map(|cost| cost.counted).collect();
        let of = |figure: fn(&Self) -> f64| median(costs.iter().map(figure));
        Self {
            per_second: of(|cost| cost.per_second),
            cpu_ms: of(|cost| cost.cpu_ms),
            counted: counted.map(|counted| Counted {
                commits: median(counted.iter().map(|counted| counted.commits)),
                syncs: median(counted.iter().map(|counted| counted.syncs)),
                wal_bytes: median(counted.iter().map(|counted| counted.wal_bytes)),
            }),
        }
    }
}

async fn flush(subject: &mut Subject) -> Result<(), String> {
    tokio::time::sleep(FLUSHED).await;
    subject.run(FLUSH).await.map(drop)
}

/// The middle of several.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(&values.collect::<Vec<_>>(), 0.5)
}

/// The smallest value that is not exceeded by such a share.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).ceil() as usize]
}

/// A figure that the product is to reach.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) what: String,
    pub(crate) measured: f64,
    pub(crate) due: Bound,
}

#[derive(Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Due {
    pub(crate) fn is_met(&self) -> bool {
        match self.due {
            Bound::AtLeast(due) => self.measured >= due,
            Bound::AtMost(due) => self.measured <= due,
        }
    }

    fn row(&self) -> Vec<String> {
        let (sign, due) = match self.due {
            Bound::AtLeast(due) => ("≥", due),
            Bound::AtMost(due) => ("≤", due),
        };
        let met = if self.is_met() { "met" } else { "SHORT" };
        vec![
            self.what.clone(),
            number(self.measured),
            format!("{sign} {}", number(due)),
            met.to_owned(),
        ]
    }
}

/// Prints what is due beside what was measured.
pub(crate) fn print_dues(dues: &[Due]) {
    let rows: Vec<_> = dues.iter().map(Due::row).collect();
    print_table(&["due for telecine", "measured", "due", ""], &rows);
}

/// With three digits that say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints a table that is one in Markdown, too.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest
            .unwrap_or_default()
            .max(header[column].chars().count())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let print = |cells: &[String]| {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let cell = cells.get(column).map(String::as_str).unwrap_or_default();
            match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            }
        });
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    print(
        &header
            .iter()
            .map(|&cell| cell.to_owned())
            .collect::<Vec<_>>(),
    );
    print(
        &widths
            .iter()
            .map(|width| "-".repeat(*width))
            .collect::<Vec<_>>(),
    );
    rows.iter().for_each(|row| print(row));
    println!();
}
