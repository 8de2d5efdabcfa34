//! Connections that are kept for the next one who needs some, and given up when they do not answer.
//!
//! A network that swallows packets says nothing: neither side hears that the other is gone, and the
//! kernel takes a quarter of an hour to notice. So whatever is asked has a limit, and a connection that
//! did not answer in time is closed, together with all that were opened before that moment.

use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use telecine_engine::store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// How long an answer may take that does not depend on how large a run is. Who waits for a lock is
/// refused after ten seconds (`lock_timeout`) and must hear of that.
pub(crate) const QUICK: Duration = Duration::from_secs(15);
/// How long one may take that carries a whole run: 100,000 steps take some seconds.
pub(crate) const WIDE: Duration = Duration::from_secs(60);
/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long one try to make one may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How soon it is tried again while the server starts.
const AGAIN: Duration = Duration::from_millis(200);
/// How long taking back a transaction may take, while nobody waits for it.
const ROLLBACK: Duration = Duration::from_secs(5);

/// At most so many connections; cheap to clone. Sqlx's pool asks each connection that is given back
/// whether it lives, without a limit: one whose packets vanish would keep its place for ever.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PgConnectOptions,
    places: Arc<Semaphore>,
    patience: Duration,
    /// The last one was used last.
    idle: Mutex<Vec<Live>>,
    /// Of this pool, and of all of its store.
    trust: [Trust; 2],
}

/// Which connections are used: once one cannot reach the server, none that was opened before. A pool has one of its
/// own, as what takes too long on one kind of connection says nothing of others, and may share another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust(Arc<Mutex<Option<Instant>>>);

impl Trust {
    fn is_in(&self, live: &Live) -> bool {
        let lost = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_none_or(|at| live.opened > at)
    }

    /// Nothing that was opened until now is used any more.
    pub(crate) fn lose(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

#[derive(Debug)]
struct Live {
    connection: PgConnection,
    opened: Instant,
}

impl Pool {
    /// Connections are opened when they are first needed, and stay: each keeps its prepared
    /// statements.
    pub(crate) fn new(connections: usize, options: PgConnectOptions) -> Self {
        Self::with_patience((connections, ACQUIRE), options)
    }

    /// The same, which uses no connection that another pool with this trust would not use.
    pub(crate) fn trusting(self, trust: &Trust) -> Self {
        let Inner {
            options,
            places,
            patience,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            options: options.clone(),
            places: places.clone(),
            patience: *patience,
            idle: Mutex::default(),
            trust: [Trust::default(), trust.clone()],
        }))
    }

    /// The same where a caller waits for a connection for so long.
    pub(crate) fn with_patience(
        (connections, patience): (usize, Duration),
        options: PgConnectOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            options,
            places: Arc::new(Semaphore::new(connections)),
            patience,
            idle: Mutex::default(),
            trust: Default::default(),
        }))
    }

    /// Asks something that has a limit.
    pub(crate) async fn ask<T>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut lease = self.lease().await?;
        let answer = within(limit, ask(&mut *lease)).await;
        lease.judge(&answer);
        lease.give_back();
        answer
    }

    /// A connection for as long as somebody needs one.
    pub(crate) async fn lease(&self) -> Result<Lease, StoreError> {
        let leasing = async {
            let place = self.0.places.clone().acquire_owned().await;
            let place = place.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let live = match self.idle() {
                Some(live) => live,
                None => self.open().await?,
            };
            Ok(Lease {
                live: Some(live),
                in_transaction: false,
                pool: self.clone(),
                place: Some(place),
            })
        };
        let leased = tokio::time::timeout(self.0.patience, leasing).await;
        leased.unwrap_or_else(|_| {
            let why = "no connection became free in time: it is slow or away";
            Err(StoreError::Unreachable(why.to_owned()))
        })
    }

    fn idle(&self) -> Option<Live> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|live| self.is_trusted(live));
        idle.pop()
    }

    /// A new connection; a server that does not take any yet is waited for.
    async fn open(&self) -> Result<Live, StoreError> {
        loop {
            let opened = Instant::now();
            let connecting = async { Ok(self.0.options.connect().await) };
            match within(CONNECT, connecting).await? {
                Ok(connection) => return Ok(Live { connection, opened }),
                Err(error) if is_starting(&error) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(Error::from(error).into()),
            }
        }
    }

    fn is_trusted(&self, live: &Live) -> bool {
        self.0.trust.iter().all(|trust| trust.is_in(live))
    }

    fn keep(&self, live: Live) {
        if self.is_trusted(&live) {
            let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(live);
        }
    }
}

/// A connection that somebody uses. Closed when it is dropped, unless it was given back: nobody knows
/// in the middle of what it is. Its transaction is taken back then.
#[derive(Debug)]
pub(crate) struct Lease {
    /// There until it is given back.
    live: Option<Live>,
    in_transaction: bool,
    pool: Pool,
    place: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Begins a transaction; answers the time of its beginning.
    pub(crate) async fn begin(&mut self) -> Result<DateTime<Utc>, StoreError> {
        let begun = async {
            // Both in one round trip.
            let begin = sqlx::raw_sql("begin; select now()");
            Ok(begin.fetch_one(&mut **self).await?.try_get(0)?)
        };
        let begun = within(QUICK, begun).await;
        self.in_transaction = begun.is_ok();
        self.judge(&begun);
        begun
    }

    /// Ends its transaction, and gives it back.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let committed = async { Ok(self.execute("commit").await?) };
        let committed = within(QUICK, committed).await;
        self.in_transaction = false;
        self.judge(&committed);
        self.give_back();
        committed.map(drop)
    }

    /// Notes what came of a question. A server that cannot be reached will not be reached on other
    /// connections of that time either.
    pub(crate) fn judge<T>(&mut self, answer: &Result<T, StoreError>) {
        if matches!(answer, Err(StoreError::Unreachable(_))) {
            self.in_transaction = false;
            self.pool.0.trust[0].lose();
        }
    }

    /// Gives it back: it waits for the next question.
    fn give_back(mut self) {
        if let Some(live) = self.live.take() {
            self.pool.keep(live);
        }
    }

    /// Takes back its transaction, while nobody waits for that.
    async fn roll_back(mut self) {
        let rollback = async { Ok(self.execute("rollback").await?) };
        if within(ROLLBACK, rollback).await.is_ok() {
            self.give_back();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (true, Ok(runtime)) = (self.in_transaction, runtime) {
            let open = Self {
                live: self.live.take(),
                in_transaction: false,
                pool: self.pool.clone(),
                place: self.place.take(),
            };
            runtime.spawn(open.roll_back());
        }
    }
}

/// Whether a server refuses connections that it will soon take: nobody listens, it starts, or there are
/// too many.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P03" | "53300"))
        }
        _ => false,
    }
}

const THERE: &str = "a lease has its connection until it is given back";

impl Deref for Lease {
    type Target = PgConnection;

    #[expect(clippy::expect_used, reason = "giving back takes the lease")]
    fn deref(&self) -> &PgConnection {
        &self.live.as_ref().expect(THERE).connection
    }
}

impl DerefMut for Lease {
    #[expect(clippy::expect_used, reason = "giving back takes the lease")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.live.as_mut().expect(THERE).connection
    }
}

/// The answer, if it comes in time.
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let seconds = limit.as_secs();
            let why = format!("it did not answer within {seconds} s");
            Err(StoreError::Unreachable(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::connect;

    async fn run(pool: &Pool, sql: &'static str) -> Result<(), StoreError> {
        let ask = async |db: &mut PgConnection| {
            db.execute(sqlx::raw_sql(sql)).await?;
            Ok(())
        };
        pool.ask(QUICK, ask).await
    }

    #[tokio::test]
    async fn a_connection_that_takes_no_writes_is_reported_as_away_and_never_used_again() {
        let place = PostgresSchema::create().await;
        let pool = Pool::new(1, connect::options(place.url()).unwrap());
        run(&pool, "set default_transaction_read_only = on")
            .await
            .unwrap();
        let refused = run(&pool, "create table t (x int)").await.unwrap_err();
        assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
        run(&pool, "create table t (x int)").await.unwrap();
    }

    /// As after a restart of the server, which a beat finds out.
    #[tokio::test]
    async fn pools_use_no_connection_from_before_a_loss_of_the_trust_that_they_share() {
        let place = PostgresSchema::create().await;
        let trust = Trust::default();
        let pool = || Pool::new(1, connect::options(place.url()).unwrap()).trusting(&trust);
        let (one, other, third) = (pool(), pool(), pool());
        let unlike_others = "create temp table t (x int)";
        run(&one, unlike_others).await.unwrap();
        run(&other, unlike_others).await.unwrap();
        let end_others = "select pg_terminate_backend(pid) from pg_stat_activity \
                          where pid <> pg_backend_pid() and datname = current_database() \
                          and query = 'create temp table t (x int)'";
        run(&third, end_others).await.unwrap();
        let away = run(&one, "select 1").await.unwrap_err();
        assert!(matches!(away, StoreError::Unreachable(_)), "{away}");
        run(&one, "select 1").await.unwrap();
        trust.lose();
        run(&other, "select 1").await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_took_too_long_is_tried_again() {
        let place = PostgresSchema::create().await;
        let options = connect::options(place.url()).unwrap();
        let pool = Pool::new(1, options.options([("statement_timeout", "20")]));
        let late = run(&pool, "select pg_sleep(60)").await.unwrap_err();
        assert!(matches!(late, StoreError::Contended(_)), "{late}");
    }

    #[tokio::test]
    async fn a_connection_that_was_given_up_in_the_middle_leaves_its_place_to_another() {
        let place = PostgresSchema::create().await;
        let pool = Pool::new(1, connect::options(place.url()).unwrap());
        let asking = run(&pool, "select pg_sleep(60)");
        let given_up = tokio::time::timeout(Duration::from_millis(50), asking).await;
        assert!(given_up.is_err());
        run(&pool, "select 1").await.unwrap();
    }
}
