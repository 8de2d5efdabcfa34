//! One answer of a server on its way, and how long it is waited for.

use std::error::Error as _;
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use crate::cli::exit::CliError;

/// How long a server may take to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server is granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long it may say nothing.
    pub(super) silence: Duration,
    /// What it sends of a file on average at least, in bytes per second, once `silence` is over.
    pub(super) least_rate: u64,
}

/// Half a minute of silence; then 128 kbit/s, the rate of the poorest sound: nobody could play
/// what comes slower. The largest playlist ends within nine minutes.
pub(super) const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(30),
    least_rate: 16 << 10,
};

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    url: Url,
    patience: Patience,
    began: Instant,
    answered: bool,
    /// What came of the body.
    bytes: u64,
}

impl Transfer {
    /// Begins to wait now.
    pub(super) fn begin(url: Url, patience: Patience) -> Self {
        Self {
            url,
            patience,
            began: Instant::now(),
            answered: false,
            bytes: 0,
        }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// Unjudged, with address and cause, if it fails or is late.
    pub(super) async fn next<T>(
        &self,
        next: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, CliError> {
        let silent = Instant::now() + self.patience.silence;
        // Who has not answered yet is not slow.
        let enough = self.answered.then(|| self.enough());
        // One that always has a little more to give would never time out.
        if enough.is_some_and(|enough| enough <= Instant::now()) {
            return Err(self.failed(self.slow()));
        }
        let enough = enough.filter(|enough| *enough < silent);
        match timeout_at(enough.unwrap_or(silent), next).await {
            Ok(came) => came.map_err(|error| self.failed(cause(&error))),
            Err(_) if enough.is_some() => Err(self.failed(self.slow())),
            Err(_) => Err(self.failed(self.silent())),
        }
    }

    /// It has answered, and so many bytes of the body came.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.answered = true;
        self.bytes += bytes as u64;
    }

    /// What has come of the body, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file cannot be fetched.
    pub(super) fn failed(&self, why: impl std::fmt::Display) -> CliError {
        CliError::unjudged(format!("cannot fetch {}: {why}", self.url))
    }

    /// When more than what came should have come.
    fn enough(&self) -> Instant {
        let granted = self.bytes as f64 / self.patience.least_rate as f64;
        self.began + self.patience.silence + Duration::from_secs_f64(granted)
    }

    fn silent(&self) -> String {
        let limit_s = self.patience.silence.as_secs_f64();
        if self.answered {
            format!("the server has sent nothing for {limit_s} s")
        } else {
            format!("the server has not answered within {limit_s} s")
        }
    }

    fn slow(&self) -> String {
        let (bytes, took_s) = (self.bytes, self.began.elapsed().as_secs());
        let least = self.patience.least_rate >> 10;
        format!("the server is too slow: {bytes} bytes in {took_s} s, the least are {least} KiB/s")
    }
}

/// Why a request failed: the innermost error is the one that tells.
fn cause(error: &reqwest::Error) -> String {
    if error.is_connect() && error.is_timeout() {
        let limit = CONNECT_TIMEOUT.as_secs();
        return format!("no connection within {limit} s");
    }
    let what = if error.is_connect() {
        "no connection"
    } else if error.is_redirect() {
        "a redirect is not followed"
    } else if error.is_body() || error.is_decode() {
        "the answer breaks off"
    } else {
        "there is no answer"
    };
    let Some(mut innermost) = error.source() else {
        return what.to_owned();
    };
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("{what}: {innermost}")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The address of a server that answers one request so.
    fn server(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> Url {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head = lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()));
            assert!(head.count() > 0, "a request");
            answer(&mut stream);
            // Until the client has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        Url::parse(&format!("http://{address}/a.m3u8")).unwrap()
    }

    /// Fetches to the end; the error that has to come.
    async fn failure(url: Url, patience: Patience) -> String {
        let mut transfer = Transfer::begin(url.clone(), patience);
        let client = super::super::client().unwrap();
        let response = match transfer.next(client.get(url).send()).await {
            Ok(response) => response,
            Err(error) => return format!("{error:?}"),
        };
        transfer.heard(0);
        let mut response = response;
        loop {
            match transfer.next(response.chunk()).await {
                Ok(Some(piece)) => transfer.heard(piece.len()),
                Ok(None) => panic!("the answer ends"),
                Err(error) => return format!("{error:?}"),
            }
        }
    }

    const SHORT: Patience = Patience {
        silence: Duration::from_millis(300),
        least_rate: 1,
    };

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_left() {
        let error = failure(server(|_| ()), SHORT).await;
        assert!(error.contains("Unjudged"), "{error}");
        assert!(error.contains("has not answered within 0.3 s"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_falls_silent_is_left() {
        let url = server(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n#EXT");
        });
        // What came is enough for longer than it is silent.
        let patience = Patience {
            silence: Duration::from_secs(1),
            ..SHORT
        };
        let error = failure(url, patience).await;
        assert!(error.contains("Unjudged"), "{error}");
        assert!(error.contains("sent nothing for 1 s"), "{error}");
    }

    /// It is never silent: only that it is slower than asked for can end this.
    #[tokio::test]
    async fn a_server_that_drips_is_left() {
        let url = server(|stream| {
            let _ = stream.set_nodelay(true);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(b"#").is_ok() {}
        });
        let patience = Patience {
            least_rate: 1 << 40,
            ..SHORT
        };
        let error = failure(url, patience).await;
        assert!(error.contains("Unjudged"), "{error}");
        assert!(error.contains("the server is too slow: "), "{error}");
    }
}
