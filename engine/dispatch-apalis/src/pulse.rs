//! When to look for hints: apalis looks when it is told to, and otherwise never.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};

/// How long one wait for a hint may take, in seconds. Beats and acknowledgements wait for as long.
const WAIT_S: f64 = 1.0;
/// How long Redis may take to answer such a wait.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before a connection that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Says when to look: at once when a hint came, and every second; not while nobody waits for one, so
/// that hints are left to processes in which somebody does.
pub(crate) async fn beat(
    client: redis::Client,
    signal: String,
    (mut waiting, look): (watch::Receiver<usize>, mpsc::Sender<()>),
) {
    let mut connection = None;
    while waiting.wait_for(|count| *count > 0).await.is_ok() {
        let waited = wait(&client, &signal, &mut connection).await;
        if let Err(error) = waited {
            tracing::debug!(%error, "redis cannot be waited for");
            connection = None;
            tokio::time::sleep(AGAIN).await;
        }
        if look.send(()).await.is_err() {
            return;
        }
    }
}

/// Waits for the signal that is left with each hint.
async fn wait(
    client: &redis::Client,
    signal: &str,
    connection: &mut Option<MultiplexedConnection>,
) -> redis::RedisResult<()> {
    if connection.is_none() {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER));
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        *connection = Some(connected.await?);
    }
    let Some(connection) = connection else {
        return Ok(());
    };
    let _signal: Option<(String, i64)> = redis::cmd("BLPOP")
        .arg(signal)
        .arg(WAIT_S)
        .query_async(connection)
        .await?;
    Ok(())
}
