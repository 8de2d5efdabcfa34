use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

/// From this version on the server counts syncs of its log elsewhere.
const SYNCS_MOVED: i32 = 180_000;

/// What a Postgres server has counted since it was set up: of everything that it does, whoever asked for
/// it.
///
/// A connection tells the server of its transactions about once a second while it is used, and when it
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresCounters {
    /// Transactions that committed, those that only read included.
    pub commits: u64,
    /// Syncs of the write-ahead log.
    pub syncs: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
}

impl PostgresCounters {
    /// Asks the server at an address.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn read(url: &str) -> Self {
        let connection = PgConnection::connect(url).await;
        let mut connection = connection.expect("the server can be reached");
        let version = connection.server_version_num().unwrap_or_default();
        let row = sqlx::query(match i32::try_from(version) {
            Ok(version) if version < SYNCS_MOVED => {
                "select sum(xact_commit)::bigint, (select wal_sync from pg_stat_wal), \
                 pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint from pg_stat_database"
            }
            _ => {
                "select sum(xact_commit)::bigint, \
                 (select sum(fsyncs)::bigint from pg_stat_io where object = 'wal'), \
                 pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint from pg_stat_database"
            }
        });
        let row = row.fetch_one(&mut connection).await.expect("counters");
        let _ = connection.close().await;
        let count = |column| u64::try_from(row.get::<i64, _>(column)).unwrap_or_default();
        Self {
            commits: count(0),
            syncs: count(1),
            wal_bytes: count(2),
        }
    }

    /// What came in since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            commits: self.commits - earlier.commits,
            syncs: self.syncs - earlier.syncs,
            wal_bytes: self.wal_bytes - earlier.wal_bytes,
        }
    }
}
