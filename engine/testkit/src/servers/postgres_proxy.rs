use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};

use crate::writes::{Moment, Watch};

/// What a client asks before it says who it is: an encrypted connection.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// A proxy on loopback in front of the test server, which breaks down and comes back at will and counts
/// what is asked. It runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct PostgresProxy {
    url: String,
    way: watch::Sender<Weather>,
    asked: Asked,
    stop: Option<oneshot::Sender<()>>,
}

/// What happens now, and what has happened to those who were there before.
#[derive(Debug, Clone, Copy)]
struct Weather {
    way: Way,
    silences: u64,
    losses: u64,
}

/// What happens on the way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end, and new ones end at once.
    Broken,
    /// Whatever is sent vanishes, and neither side hears that. Connections of that time stay so.
    Silent,
}

type Asked = Arc<Mutex<Seen>>;

/// What clients have said, and who wants to know of it.
#[derive(Debug, Default)]
struct Seen {
    statements: Vec<String>,
    watch: Option<Watch>,
}

impl PostgresProxy {
    /// Starts one in front of the server of an address.
    ///
    /// # Panics
    /// If it is none, or no port can be had.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let upstream: PgConnectOptions = url.parse().expect("an address of Postgres");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let (way, ways) = watch::channel(Weather {
            way: Way::Open,
            silences: 0,
            losses: 0,
        });
        let asked = Asked::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = accept(listener, upstream, (ways, log)) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            url: elsewhere(url, address),
            way,
            asked,
            stop: Some(stop),
        }
    }

    /// Its address, instead of that of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends all connections, and lets nobody through until [`PostgresProxy::mend`].
    pub fn cut(&self) {
        self.way.send_modify(|it| it.way = Way::Broken);
    }

    /// Lets whatever is sent vanish until [`PostgresProxy::mend`], as a network does that has forgotten
    /// its connections: those that are there, and those that are made meanwhile, never carry anything
    /// again and are never closed.
    pub fn silence(&self) {
        self.way.send_modify(|it| {
            it.way = Way::Silent;
            it.silences += 1;
        });
    }

    /// Ends all connections, of which only the server hears: what clients send on them vanishes. New ones
    /// are let through.
    pub fn forget(&self) {
        self.way.send_modify(|it| it.losses += 1);
    }

    /// Lets everybody through again.
    pub fn mend(&self) {
        self.way.send_modify(|it| it.way = Way::Open);
    }

    /// Statements that were executed so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).statements.clone()
    }

    /// Has somebody told of every statement from now on that changes something, or commits what was changed. Not of
    /// the renewal of a session, which comes by the clock.
    pub fn watch(&self, watch: Watch) {
        lock(&self.asked).watch = Some(watch);
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address with another host and port in it.
fn elsewhere(url: &str, address: SocketAddr) -> String {
    let (scheme, rest) = url.split_once("://").expect("an address");
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let query: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty() && !part.starts_with("host=") && !part.starts_with("port="))
        .collect();
    format!("{scheme}://{user}@{address}/{database}?{}", query.join("&"))
}

async fn accept(
    listener: std::net::TcpListener,
    upstream: PgConnectOptions,
    (ways, asked): (watch::Receiver<Weather>, Asked),
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (upstream, mut ways, asked) = (upstream.clone(), ways.clone(), asked.clone());
        let before = *ways.borrow_and_update();
        tokio::spawn(async move {
            match before.way {
                Way::Open => {
                    // Keeps the way to the client when what forwards is gone.
                    let end = client.as_fd().try_clone_to_owned();
                    let forwarding =
                        Box::pin(async move { forward(client, &upstream, asked).await });
                    if meet(forwarding, (ways, before)).await {
                        hold(end).await
                    }
                }
                Way::Broken => drop(client),
                Way::Silent => hold(client).await,
            }
        });
    }
}

/// Forwards until the connection is to end, or never carries anything again. Answers whether only the server
/// is to hear of the end.
async fn meet(
    mut forwarding: Pin<Box<impl Future<Output = std::io::Result<()>>>>,
    (mut ways, before): (watch::Receiver<Weather>, Weather),
) -> bool {
    loop {
        tokio::select! {
            _ = &mut forwarding => return false,
            changed = ways.changed() => if changed.is_err() { return false },
        }
        let now = *ways.borrow_and_update();
        if now.losses > before.losses {
            return true;
        }
        if now.silences > before.silences {
            hold(&mut forwarding).await;
        }
        if now.way == Way::Broken {
            return false;
        }
    }
}

/// Keeps connections open without listening to them.
async fn hold<T>(_connections: T) {
    std::future::pending().await
}

async fn forward(
    mut client: TcpStream,
    upstream: &PgConnectOptions,
    asked: Asked,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let port = upstream.get_port();
    let directory = upstream.get_socket().map(|path| path.display().to_string());
    let directory = directory.or_else(|| {
        let host = upstream.get_host();
        host.starts_with('/').then(|| host.to_owned())
    });
    match directory {
        Some(directory) => {
            let path = format!("{directory}/.s.PGSQL.{port}");
            pass(&mut client, UnixStream::connect(path).await?, asked).await
        }
        None => {
            let server = TcpStream::connect((upstream.get_host(), port)).await?;
            pass(&mut client, server, asked).await
        }
    }
}

async fn pass(
    client: &mut TcpStream,
    server: impl AsyncRead + AsyncWrite,
    asked: Asked,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let mut reading = Reading::new(asked.clone());
    // What the server has been sent and not answered.
    let open = Mutex::new(Vec::new());
    let goes_on = |writes: &[u32], moment| {
        let watch = lock(&asked).watch.clone();
        watch.is_none_or(|watch| writes.iter().all(|write| watch.goes_on(*write, moment)))
    };
    let up = async {
        let mut piece = [0; 16 * 1024];
        loop {
            let read = from_client.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            let writes = reading.take(&piece[..read]);
            if !goes_on(&writes, Moment::Before) {
                return Ok(());
            }
            lock(&open).extend(writes);
            to_server.write_all(&piece[..read]).await?;
        }
    };
    let down = async {
        let mut piece = [0; 16 * 1024];
        loop {
            let read = from_server.read(&mut piece).await?;
            let answered: Vec<u32> = lock(&open).drain(..).collect();
            if read == 0 || !goes_on(&answered, Moment::After) {
                return Ok(());
            }
            to_client.write_all(&piece[..read]).await?;
        }
    };
    tokio::select! {
        up = up => up,
        down = down => down,
    }
}

/// Whether a statement changes something that is no renewal of a session, or commits.
fn is_write(statement: &str) -> bool {
    let lines = statement.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("--"));
    let statement = lines.collect::<Vec<_>>().join(" ");
    let statement = statement.replace('(', " ").to_ascii_lowercase();
    let words: Vec<&str> = statement.split_whitespace().collect();
    let changes = words.windows(3).any(|words| match words {
        ["insert", "into", _] | ["delete", "from", _] => true,
        // A lock is taken `for update`, and a conflict met with `do update`, which follows an insert.
        [before, "update", _] => !["for", "do"].contains(before),
        _ => false,
    });
    let begins = |word| words.first() == Some(&word);
    let is_renewal = statement.starts_with("update session set expires_at");
    (changes || begins("update") || begins("commit")) && !is_renewal
}

/// What one client says, message by message.
struct Reading {
    asked: Asked,
    bytes: Vec<u8>,
    introduced: bool,
    statements: HashMap<Vec<u8>, String>,
    bound: String,
}

impl Reading {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            bytes: Vec::new(),
            introduced: false,
            statements: HashMap::new(),
            bound: String::new(),
        }
    }

    /// Answers the numbers of the writes that are whole now, if somebody wants to know of them.
    fn take(&mut self, piece: &[u8]) -> Vec<u32> {
        self.bytes.extend_from_slice(piece);
        let mut writes = Vec::new();
        loop {
            // Before a client has introduced itself, messages have no kind.
            let head = usize::from(self.introduced);
            let Some(length) = self.bytes.get(head..head + 4) else {
                return writes;
            };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
            let end = head + usize::try_from(length).unwrap_or(usize::MAX);
            if self.bytes.len() < end {
                return writes;
            }
            let message: Vec<u8> = self.bytes.drain(..end).collect();
            writes.extend(self.read(&message, head));
        }
    }

    fn read(&mut self, message: &[u8], head: usize) -> Option<u32> {
        let body = &message[head + 4..];
        if head == 0 {
            self.introduced = !body.starts_with(&SSL_REQUEST);
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut parts = body.splitn(3, |byte| *byte == 0);
        let (first, second) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        match message[0] {
            // Parse: a name and a statement. Bind: a portal and the name. Execute. A plain query.
            b'P' => {
                self.statements.insert(first.to_vec(), text(second));
            }
            b'B' => self.bound = self.statements.get(second).cloned().unwrap_or_default(),
            b'E' => return self.executed(self.bound.clone()),
            b'Q' => return self.executed(text(first)),
            _ => {}
        }
        None
    }

    fn executed(&self, statement: String) -> Option<u32> {
        let mut seen = lock(&self.asked);
        let watch = seen.watch.clone().filter(|_| is_write(&statement));
        seen.statements.push(statement);
        watch.map(|watch| watch.begin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_is_told_from_what_does_not() {
        for write in [
            "COMMIT",
            "-- Makes runs.\ninsert into run (id)\nselect 1",
            "with gone as (delete from ready where run = $1) select 1",
            "with s as (select 1)\nupdate step\nset status = $1",
            "update session set offer = $2 where id = $1",
        ] {
            assert!(is_write(write), "{write}");
        }
        for other in [
            "BEGIN",
            "ROLLBACK",
            "select revision from run where id = any($1) for update",
            "select 1 from ready for update skip locked",
            "-- Lets the lease end later.\nupdate session\nset\n    expires_at = now()\nwhere id = $1",
        ] {
            assert!(!is_write(other), "{other}");
        }
    }
}
