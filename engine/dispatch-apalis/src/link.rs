//! What is said to Redis, through apalis, and what apalis-redis 1.0.0 is kept from:
//!
//! * a task that takes long is run twice, and beats and acknowledgements stop meanwhile: the handler
//!   hands on and returns, one task at a time;
//! * an answer that takes longer than half a second ends its worker: answers may take
//!   [`ANSWER`], and a worker that ended is made anew under a new name, as the old one is taken for
//!   alive;
//! * tasks that are not acknowledged stay in flight for ever and come back in one command that is too
//!   long when their worker is gone: results are persisted, which is how apalis acknowledges, and
//!   cleared away by [`tidy`];
//! * every task is put to those that are due later, by the clock of whoever sends it, and nobody is told:
//!   [`RELEASE`] makes it due at once and tells one worker;
//! * delayed tasks, too many of which break its fetching: there are none, delays are in our database;
//! * colons in names of queues, which it takes apart: ours have none;
//! * no limit on what waits: nothing is sent while [`BACKLOG`] hints wait.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::counter;
use apalis::prelude::{BackendExt as _, BoxDynError, TaskSink as _, WorkerBuilder, WorkerError};
use apalis_core::backend::Vacuum as _;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use futures_util::future::BoxFuture;
use futures_util::stream;
use redis::Script;
use redis::aio::ConnectionManagerConfig;
use serde::{Deserialize, Serialize};
use telecine_engine::dispatch::{Dispatcher as _, Hint};
use telecine_engine::id::SessionId;
use telecine_engine::metrics::HINTS;
use telecine_engine::queue::Queue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::{Inside, pulse};

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before a connection that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a worker of apalis says that it is alive.
const BEAT: Duration = Duration::from_secs(5);
/// Beats it may miss.
const MISSED: usize = 3;
/// Hints of one queue that may wait in Redis. If more would, those who could hear them are busy, or know of no
/// Redis: the other doorbell rings.
const BACKLOG: usize = 100;
/// Makes what was pushed due, whatever the clocks say, and leaves a signal for each, which one worker takes.
const RELEASE: &str = "
    local ids = redis.call('zrange', KEYS[1], 0, ARGV[1])
    if #ids > 0 then
        redis.call('zrem', KEYS[1], unpack(ids))
        redis.call('rpush', KEYS[2], unpack(ids))
        for _ = 1, #ids do redis.call('lpush', KEYS[3], 1) end
    end";
/// The oldest version whose commands apalis uses: `ZADD` with `GT`.
const OLDEST: (u32, u32) = (6, 2);
/// For how long a worker that is gone is known in Redis.
const KNOWN: Duration = Duration::from_hours(1);
/// How often what is done is cleared away.
const TIDY: Duration = Duration::from_secs(10);

/// A hint as it is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireHint {
    pub(crate) run: String,
}

impl From<&Hint> for WireHint {
    fn from(hint: &Hint) -> Self {
        Self {
            run: hint.run.to_string(),
        }
    }
}

/// Where hints go.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    client: redis::Client,
    name: Arc<str>,
}

impl Link {
    pub(crate) fn new(client: redis::Client, name: &str) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// What apalis calls a queue.
    fn queue(&self, queue: Queue) -> String {
        format!("telecine-{}-{}", self.name, queue.slug())
    }

    fn config(&self, queue: Queue) -> Config {
        Config::default()
            .queue(self.queue(queue))
            .batch_size(1)
            .lock_tasks(false)
            .emit_events(false)
            .persist_results(true)
            .heartbeat_interval(BEAT)
            .missed_heartbeats(MISSED)
    }

    async fn connect(&self) -> redis::RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER));
        let mut connection = self
            .client
            .get_connection_manager_with_config(config)
            .await?;
        let info = redis::cmd("INFO")
            .arg("server")
            .query_async::<String>(&mut connection)
            .await;
        let info = match info {
            // Forbidden or not known: who may not ask finds out by trying.
            Err(error) if error.code().is_some() => String::new(),
            told => told?,
        };
        match too_old(&info) {
            None => Ok(connection),
            Some(why) => Err(redis::RedisError::from(io::Error::other(why))),
        }
    }

    fn storage(&self, connection: ConnectionManager, queue: Queue) -> RedisStorage<WireHint> {
        RedisStorage::new(connection).with_config(self.config(queue))
    }
}

/// Why hints cannot go through a server, by what it says of itself, if they cannot.
fn too_old(info: &str) -> Option<String> {
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))?;
    let mut parts = version.trim().split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        return None;
    };
    let (oldest, of_it) = OLDEST;
    ((major, minor) < OLDEST).then(|| {
        format!("it is version {version}, and {oldest}.{of_it} is the oldest that can be used")
    })
}

/// Sends hints, and says whether that goes well.
pub(crate) async fn send(
    link: Link,
    mut hints: mpsc::Receiver<(Queue, WireHint)>,
    (health, inside): (watch::Sender<Option<String>>, Arc<Inside>),
) {
    let (mut worked, mut warned) = (false, false);
    loop {
        let why = match link.connect().await {
            Ok(connection) => {
                worked = true;
                let sending = send_by(
                    &link,
                    connection,
                    &mut hints,
                    (&health, &inside, &mut warned),
                );
                match sending.await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        let trouble = format!("redis cannot be used: {why}");
        // Whoever starts a process hears of a Redis that was never there.
        if health.send_replace(Some(trouble)).is_none() && worked {
            warned = true;
            tracing::warn!(why, "redis cannot be used: steps begin a little later");
        }
        // What was to be sent is told otherwise.
        while hints.try_recv().is_ok() {
            counter!(HINTS.name, "result" => "failed").increment(1);
        }
        inside.other.ring(&[]);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Sends hints by one connection until it fails.
async fn send_by(
    link: &Link,
    connection: ConnectionManager,
    hints: &mut mpsc::Receiver<(Queue, WireHint)>,
    (health, inside, warned): (&watch::Sender<Option<String>>, &Inside, &mut bool),
) -> Result<(), BoxDynError> {
    let mut connection = connection;
    let release = Script::new(RELEASE);
    loop {
        let next = tokio::time::timeout(AGAIN, hints.recv()).await;
        match next {
            Ok(None) => return Ok(()),
            Ok(Some((queue, hint))) => {
                let config = link.config(queue);
                let (due, later): (usize, usize) = redis::pipe()
                    .llen(config.active_jobs_list())
                    .zcard(config.scheduled_jobs_set())
                    .query_async(&mut connection)
                    .await?;
                if due + later < BACKLOG {
                    link.storage(connection.clone(), queue).push(hint).await?;
                    release
                        .key(config.scheduled_jobs_set())
                        .key(config.active_jobs_list())
                        .key(config.signal_list())
                        .arg(BACKLOG)
                        .invoke_async::<()>(&mut connection)
                        .await?;
                    counter!(HINTS.name, "result" => "sent").increment(1);
                } else {
                    counter!(HINTS.name, "result" => "failed").increment(1);
                    inside.unwanted.notify_one();
                }
            }
            Err(_idle) => {
                let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
            }
        }
        let is_back = health.send_if_modified(|trouble| trouble.take().is_some());
        if is_back && std::mem::take(warned) {
            tracing::warn!("redis is there again");
        }
    }
}

/// Hears the hints of a queue once a worker listens; begins anew whenever that fails.
pub(crate) async fn hear(link: Link, queue: Queue, inside: Arc<Inside>) {
    let mut listening = inside.listening.subscribe();
    if listening.wait_for(|listens| *listens).await.is_err() {
        return;
    }
    loop {
        if let Err(error) = hear_by(&link, queue, &inside).await {
            tracing::debug!(%error, "no hints are heard");
        }
        tokio::time::sleep(AGAIN).await;
        // What was not heard meanwhile.
        inside.here.ring(&[]);
    }
}

/// Hears hints by one worker of apalis until it ends.
async fn hear_by(link: &Link, queue: Queue, inside: &Arc<Inside>) -> Result<(), BoxDynError> {
    let connection = link.connect().await?;
    let (look, looks) = mpsc::channel(1);
    let mut pulse = JoinSet::new();
    let waiting = inside.waiting.subscribe();
    let signal = link.config(queue).signal_list();
    pulse.spawn(pulse::beat(link.client.clone(), signal, (waiting, look)));
    // A name that a worker had before is refused until that one is taken for dead.
    let name = SessionId::generate().to_string();
    let known = format!("{}:workers:metadata:{name}", link.queue(queue));
    pulse.spawn(be_forgotten(connection.clone(), known));
    let storage = link.storage(connection, queue);
    Ok(worker((name, storage), looks, inside.clone()).await?)
}

/// Lets what apalis notes of a worker go after the worker has: it keeps that for ever.
async fn be_forgotten(mut connection: ConnectionManager, known: String) {
    loop {
        let expire: redis::RedisResult<i64> = redis::cmd("EXPIRE")
            .arg(&known)
            .arg(KNOWN.as_secs())
            .query_async(&mut connection)
            .await;
        let pause = match expire {
            Ok(1) => KNOWN / 2,
            // It has yet to be noted.
            _ => AGAIN,
        };
        tokio::time::sleep(pause).await;
    }
}

/// A worker of apalis that hands on what comes, until it fails.
fn worker(
    (name, storage): (String, RedisStorage<WireHint>),
    mut looks: mpsc::Receiver<()>,
    inside: Arc<Inside>,
) -> BoxFuture<'static, Result<(), WorkerError>> {
    let looks = stream::poll_fn(move |context| looks.poll_recv(context));
    let hand_on = move |hint: WireHint| {
        counter!(HINTS.name, "result" => "heard").increment(1);
        inside.heard(&hint);
        std::future::ready(Ok::<(), Infallible>(()))
    };
    let worker = WorkerBuilder::new(name)
        .backend(storage.poll_with_stream(looks))
        .build(hand_on);
    Box::pin(worker.run())
}

/// Clears away what was heard: apalis keeps it until it is told to.
pub(crate) async fn tidy(link: Link) {
    loop {
        tokio::time::sleep(TIDY).await;
        if let Err(error) = clear(&link).await {
            tracing::debug!(%error, "heard hints were not cleared away");
        }
    }
}

async fn clear(link: &Link) -> Result<(), BoxDynError> {
    let mut connection = link.connect().await?;
    for queue in Queue::ALL {
        link.storage(connection.clone(), queue).vacuum().await?;
        let config = link.config(queue);
        let _gone: i64 = redis::cmd("UNLINK")
            .arg(config.done_jobs_set())
            .arg(config.dead_jobs_set())
            .query_async(&mut connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_named_with_what_is_needed() {
        let info = |version: &str| format!("# Server\r\nredis_version:{version}\r\nos:Linux\r\n");
        for version in ["5.0.14", "6.0.16"] {
            let why = too_old(&info(version)).unwrap_or_default();
            assert!(why.contains(version) && why.contains("6.2"), "{why}");
        }
        for version in ["6.2.0", "7.0.15", "10.1.0", "unstable"] {
            assert_eq!(too_old(&info(version)), None, "{version}");
        }
        assert_eq!(too_old("# Server\r\n"), None, "one that does not say");
    }
}
