//! Listens, and answers within bounds: connections at once, bytes of a head, and times.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections at once. Further ones wait in the system's queue.
const CONNECTIONS: usize = 1024;
/// How long a client has for the head of a request, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a head that are read at all; see `router` for how many are accepted.
const HEAD_BYTES: usize = 64 * 1024;
/// Headers of one request.
const HEADERS: usize = 100;
/// How long to wait after a connection could not be accepted: the process is short of files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Takes an address.
///
/// # Errors
/// One sentence that names the address.
pub(crate) async fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("cannot listen on {address}: another process does; set {setting}")
        }
        _ => format!("cannot listen on {address}: {error}; set {setting}"),
    })
}

/// Answers requests until it is told to stop, then accepts no more and lets those that were begun
/// end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let (connections, graceful) = (
        Arc::new(Semaphore::new(CONNECTIONS)),
        GracefulShutdown::new(),
    );
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => match accepted {
                Ok((stream, permit)) => {
                    let answering = answer(stream, router.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        answering.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            open,
            "requests were still being answered when the time to stop was over"
        );
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Events are small, and wait for nothing.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn answer(stream: TcpStream, router: Router, watcher: Watcher) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
