use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};

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

type Asked = Arc<Mutex<Vec<String>>>;

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
        lock(&self.asked).clone()
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

fn lock(asked: &Asked) -> MutexGuard<'_, Vec<String>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
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
    let mut reading = Reading::new(asked);
    let up = async {
        let mut piece = [0; 16 * 1024];
        loop {
            let read = from_client.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            reading.take(&piece[..read]);
            to_server.write_all(&piece[..read]).await?;
        }
    };
    tokio::select! {
        up = up => up,
        down = tokio::io::copy(&mut from_server, &mut to_client) => down.map(drop),
    }
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

    fn take(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        loop {
            // Before a client has introduced itself, messages have no kind.
            let head = usize::from(self.introduced);
            let Some(length) = self.bytes.get(head..head + 4) else {
                return;
            };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
            let end = head + usize::try_from(length).unwrap_or(usize::MAX);
            if self.bytes.len() < end {
                return;
            }
            let message: Vec<u8> = self.bytes.drain(..end).collect();
            self.read(&message, head);
        }
    }

    fn read(&mut self, message: &[u8], head: usize) {
        let body = &message[head + 4..];
        if head == 0 {
            self.introduced = !body.starts_with(&SSL_REQUEST);
            return;
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
            b'E' => lock(&self.asked).push(self.bound.clone()),
            b'Q' => lock(&self.asked).push(text(first)),
            _ => {}
        }
    }
}
