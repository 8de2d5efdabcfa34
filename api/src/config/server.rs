use std::net::SocketAddr;
use std::time::Duration;

use super::{Reader, duration};
use crate::auth::ApiKeys;

/// What a process of `telecine serve` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Accepts jobs and runs them.
    All,
    /// Accepts and shows jobs, runs none.
    Server,
    /// Runs jobs, accepts none.
    Worker,
}

impl Mode {
    /// Whether it answers the HTTP API.
    pub(crate) fn serves(self) -> bool {
        self != Self::Worker
    }

    /// Whether it runs steps.
    pub(crate) fn works(self) -> bool {
        self != Self::Server
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "server" => Ok(Self::Server),
            "worker" => Ok(Self::Worker),
            _ => Err(format!(
                "`{text}` is no mode; write `all`, `server` or `worker`"
            )),
        }
    }
}

/// Settings of `telecine serve`.
#[derive(Debug)]
pub(crate) struct ServerConfig {
    /// What the process does.
    pub(crate) mode: Mode,
    /// Where the HTTP API listens.
    pub(crate) listen: SocketAddr,
    /// Who may use it; empty for whoever reaches it.
    pub(crate) api_keys: ApiKeys,
    /// After which time jobs are forgotten that have stopped; `None` for never.
    pub(crate) retention: Option<Duration>,
    /// Time for requests to end.
    pub(crate) shutdown_timeout: Duration,
    /// Where a worker tells of itself; `None` for nowhere.
    pub(crate) worker_metrics: Option<SocketAddr>,
}

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mode = reader.read("mode", || "all".to_owned(), Mode::parse);
        let listen = reader.read("listen", || "127.0.0.1:3000".to_owned(), address);
        let api_keys = reader.read("api_keys", String::new, ApiKeys::parse);
        let shutdown_timeout = reader.read("shutdown_timeout", || "30s".to_owned(), duration);
        let retention = reader.read("retention", || "30d".to_owned(), retention);
        let port = reader.read("worker_metrics_port", || "3001".to_owned(), port);
        let (listen, port) = (listen?, port?);
        Some(Self {
            mode: mode?,
            listen,
            api_keys: api_keys?,
            retention: retention?,
            shutdown_timeout: shutdown_timeout?,
            worker_metrics: (port > 0).then(|| SocketAddr::new(listen.ip(), port)),
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no address with a port, such as 127.0.0.1:3000"))
}

/// A day at least: whoever watches a job has seen its end by then.
fn retention(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    let age = duration(text)?;
    match age < Duration::from_hours(24) {
        true => Err(format!(
            "`{text}` is less than a day; write `never` to keep all jobs"
        )),
        false => Ok(Some(age)),
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no port: a number from 0 to 65535"))
}
