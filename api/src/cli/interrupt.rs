use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{CliError, Exit};

/// SIGINT and SIGTERM, from when this is made.
#[derive(Debug)]
pub(super) struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Takes the signals over from the system, which would end the process.
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|e| CliError::failed(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
        })
    }

    /// The next signal, as the exit code of a process that it stops.
    pub(super) async fn next(&mut self) -> Exit {
        const SIGINT: u8 = 2;
        const SIGTERM: u8 = 15;
        tokio::select! {
            _ = self.int.recv() => Exit::Interrupted(SIGINT),
            _ = self.term.recv() => Exit::Interrupted(SIGTERM),
        }
    }
}
