//! The Postgres under test: schemas of it, and what it counts.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use telecine_engine::id::RunId;

/// A server that this benchmark may fill.
pub(crate) struct Server {
    url: String,
}

/// What the server counts, from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) commits: u64,
    pub(crate) syncs: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) cpu: Duration,
}

impl Counters {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            commits: self.commits - before.commits,
            syncs: self.syncs - before.syncs,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            cpu: self.cpu - before.cpu,
        }
    }
}

impl Server {
    /// The one that the environment names.
    pub(crate) fn named() -> Option<Self> {
        let url = std::env::var("TELECINE_BENCH_POSTGRES_URL").ok()?;
        Some(Self { url })
    }

    /// Address of a new, empty schema.
    pub(crate) async fn schema(&self) -> String {
        let name = RunId::generate().as_str().replace(RunId::PREFIX, "bench_");
        self.one(&format!("create schema {name}")).await;
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}options[search_path]={name}", self.url)
    }

    pub(crate) async fn counters(&self) -> Counters {
        // What backends have counted is shown after a moment.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let sql = "select sum(xact_commit)::bigint, \
                   (select wal_sync from pg_stat_wal), (select wal_bytes from pg_stat_wal)::bigint, \
                   pg_read_file('postmaster.pid') from pg_stat_database";
        let row = self.one(sql).await.unwrap();
        let count = |column: usize| u64::try_from(row.get::<i64, _>(column)).unwrap();
        let pid: String = row.get(3);
        Counters {
            commits: count(0),
            syncs: count(1),
            wal_bytes: count(2),
            cpu: cpu_of_tree(pid.lines().next().unwrap().trim().parse().unwrap()),
        }
    }

    async fn one(&self, sql: &str) -> Option<PgRow> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query(sql)
            .fetch_optional(&mut connection)
            .await
            .unwrap()
    }
}

/// CPU time of this process.
pub(crate) fn cpu_of_this_process() -> Duration {
    cpu_of(std::process::id(), false)
}

/// CPU time of a process, of its children that live, and of those that it has reaped.
fn cpu_of_tree(root: u32) -> Duration {
    let children = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            (stat(pid)?.get(1)?.parse() == Ok(root)).then_some(pid)
        });
    children.map(|pid| cpu_of(pid, false)).sum::<Duration>() + cpu_of(root, true)
}

fn cpu_of(pid: u32, with_reaped: bool) -> Duration {
    let fields = stat(pid).unwrap_or_default();
    // utime, stime, cutime and cstime, in hundredths of a second.
    let wanted = if with_reaped { 11..15 } else { 11..13 };
    let ticks = fields.get(wanted).unwrap_or_default().iter();
    Duration::from_millis(
        10 * ticks
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum::<u64>(),
    )
}

/// The fields of `/proc/PID/stat` after the name of the program.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Forgets how much memory this process once had.
pub(crate) fn forget_peak() {
    // Where it cannot be forgotten, the peak is that of all that was measured so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process has had, in MiB.
pub(crate) fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse::<u64>().unwrap() / 1024
}
