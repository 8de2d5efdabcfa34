//! The connection that sessions are renewed on.

use std::sync::{Mutex, PoisonError};

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::error::Error;

/// One connection that is kept as long as it is good. A pool would wait for one that no longer answers,
/// before it is given up: who drops a beat half-way drops its connection with it, and the next beat
/// makes another.
#[derive(Debug)]
pub(crate) struct Beats {
    options: PgConnectOptions,
    kept: Mutex<Option<PgConnection>>,
}

impl Beats {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            kept: Mutex::default(),
        }
    }

    /// The connection, or a new one if it is in use or was not brought back.
    pub(crate) async fn take(&self) -> Result<PgConnection, Error> {
        let kept = self.lock().take();
        match kept {
            Some(connection) => Ok(connection),
            None => Ok(self.options.connect().await?),
        }
    }

    /// Brings back a connection that is good.
    pub(crate) fn keep(&self, connection: PgConnection) {
        *self.lock() = Some(connection);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<PgConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
