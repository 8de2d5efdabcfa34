//! The doorbell between processes: `notify` and `listen`. What is lost costs latency only.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::store::StoreError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connect;
use crate::error::Error;
use crate::pool::{Pool, QUICK, within};

/// Where all processes on a database listen.
const CHANNEL: &str = "telecine_ready";
/// Rings of one process within this time are one.
const TOGETHER: Duration = Duration::from_millis(2);
/// How long to wait before a listener that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long nobody may ring before the connection is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(15);
/// How long the answer to that may take, and the beginning of a connection.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a worker waits for a ring before it looks by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rings the workers of every process on a database.
///
/// A ring is heard at once in this process, and by a notification in the others. It is sent on a
/// connection of its own after the commit that it tells of: within the commit it would make all
/// commits of the database wait for each other.
#[derive(Debug)]
pub struct PostgresDispatcher {
    here: std::sync::Arc<InProcessDispatcher>,
    out: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl PostgresDispatcher {
    /// Starts to listen; connects in the background, and again whenever the connection is lost.
    ///
    /// # Errors
    /// [`StoreError::Incompatible`] if the address is none.
    pub fn start(url: &str) -> Result<Self, StoreError> {
        let options = connect::options(url)?;
        let here = std::sync::Arc::new(InProcessDispatcher::default());
        let (out, rings) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(hear(options.clone(), here.clone()));
        tasks.spawn(tell(Pool::new(1, options), rings));
        Ok(Self {
            here,
            out,
            _tasks: tasks,
        })
    }
}

impl Dispatcher for PostgresDispatcher {
    fn ring(&self, hints: &[Hint]) {
        self.here.ring(hints);
        self.out.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.here.listen()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// Rings here whenever somebody rings anywhere, and after each time that nothing could be heard.
async fn hear(options: PgConnectOptions, here: std::sync::Arc<InProcessDispatcher>) {
    loop {
        if let Err(error) = listen(&options, &here).await {
            tracing::debug!(%error, "no rings are heard from other processes");
        }
        tokio::time::sleep(AGAIN).await;
        here.ring(&[]);
    }
}

async fn listen(options: &PgConnectOptions, here: &InProcessDispatcher) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool
        .acquire_timeout(ANSWER)
        .connect_lazy_with(options.clone());
    let beginning = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    let mut listener = within(ANSWER, beginning).await?;
    here.ring(&[]);
    loop {
        let Ok(heard) = tokio::time::timeout(SILENCE, listener.try_recv()).await else {
            // Nobody rang, or nobody can be heard.
            let lives = async { Ok(sqlx::query("select 1").execute(&mut listener).await?) };
            within(ANSWER, lives).await?;
            continue;
        };
        match heard.map_err(Error::from)? {
            Some(_ring) => here.ring(&[]),
            None => return Ok(()),
        }
    }
}

/// Tells the others of the rings of this process.
async fn tell(database: Pool, mut rings: watch::Receiver<u64>) {
    while rings.changed().await.is_ok() {
        let tell = async |db: &mut PgConnection| {
            let told = sqlx::query("select pg_notify($1, '')").bind(CHANNEL);
            Ok(told.execute(db).await?)
        };
        if let Err(error) = database.ask(QUICK, tell).await {
            tracing::debug!(%error, "other processes were not told; they look by themselves");
        }
        tokio::time::sleep(TOGETHER).await;
    }
}
