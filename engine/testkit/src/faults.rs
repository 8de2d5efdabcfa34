//! Faults of networks and of servers that are overloaded, for real.
#![expect(clippy::expect_used, reason = "a test cannot go on without its proxy")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::sim::Random;
use crate::writes::{Moment, Watch};

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How much is passed on at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered by the proxy: a status, and a body.
    Answer(u16, String),
    /// The connection ends once so many bytes of the answer have passed, its head among them.
    CutAnswer(u64),
    /// The connection ends at once.
    HangUp,
    /// It is taken, and nothing ever comes back.
    Silence,
    /// So many bytes a second pass, each way.
    Slow(u64),
}

impl Fault {
    /// What S3 says when it has too much to do.
    #[must_use]
    pub fn slow_down() -> Self {
        Self::s3(503, "SlowDown", "Please reduce your request rate.")
    }

    /// An error as S3 words it.
    #[must_use]
    pub fn s3(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Self::Answer(status, body)
    }
}

/// A proxy on loopback in front of an HTTP server. Every request has a connection of its own, so that
/// each meets what is in force when it begins. It runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<String>,
    /// Chooses among the rules that fit a request; without it the one that was made first wins.
    chance: Option<Random>,
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Rule {
    part: String,
    fault: Fault,
    left: usize,
    /// When it is over, whatever is left of it.
    until: Option<Instant>,
}

impl Rule {
    fn is_over(&self) -> bool {
        self.left == 0 || self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl FaultProxy {
    /// Starts one in front of `http://HOST:PORT`.
    ///
    /// # Panics
    /// If that is no such address, or no port can be had.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").expect("an http address");
        let upstream = upstream.trim_end_matches('/').to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = accept(listener, upstream, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
        }
    }

    /// Its address, instead of that of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the fault happen to the next `times` requests whose first line contains `part`. The rule that
    /// was made first wins, unless they are [mixed](Self::mix).
    pub fn next(&self, times: usize, part: &str, fault: Fault) {
        self.add((part, fault), (times, None));
    }

    /// The same to requests that begin within a time, and to none later: where few come, faults do not pile up.
    pub fn next_within(&self, (times, time): (usize, Duration), part: &str, fault: Fault) {
        self.add((part, fault), (times, Some(Instant::now() + time)));
    }

    /// From now on chance decides which of the rules that a request fits is met: faults of several kinds come
    /// between each other, instead of one kind after the other.
    pub fn mix(&self, seed: u64) {
        self.lock().chance = Some(Random::new(seed));
    }

    /// Has somebody told of every request that changes something (`PUT`, `POST`, `DELETE`) from now on.
    pub fn watch(&self, watch: Watch) {
        self.lock().watch = Some(watch);
    }

    fn add(&self, (part, fault): (&str, Fault), (left, until): (usize, Option<Instant>)) {
        let mut state = self.lock();
        state.rules.retain(|rule| !rule.is_over());
        state.rules.push(Rule {
            part: part.to_owned(),
            fault,
            left,
            until,
        });
    }

    /// Passes on everything again.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// First lines of the requests so far (`PUT /bucket/key HTTP/1.1`).
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn accept(listener: std::net::TcpListener, upstream: String, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let (upstream, state) = (upstream.clone(), state.clone());
            // A connection that breaks is what this is for.
            tokio::spawn(async move { serve(client, &upstream, &state).await });
        }
    }
}

async fn serve(mut client: TcpStream, upstream: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let fault = meet(&head, state);
    match fault {
        Some(Fault::HangUp) => Ok(()),
        Some(Fault::Silence) => drain(&mut client).await,
        Some(Fault::Answer(status, body)) => answer(&mut client, status, &body).await,
        _ => {
            let write = Write::of(&head, state);
            if !write.goes_on(Moment::Before) {
                return Ok(());
            }
            let server = TcpStream::connect(upstream).await?;
            forward((client, server), (head, rest), (fault, write)).await
        }
    }
}

/// A request that changes something, if it does and somebody wants to know.
struct Write(Option<(Watch, u32)>);

impl Write {
    fn of(head: &str, state: &Mutex<State>) -> Self {
        let changes = ["PUT ", "POST ", "DELETE "]
            .iter()
            .any(|it| head.starts_with(it));
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = state.watch.clone().filter(|_| changes);
        Self(watch.map(|watch| (watch.clone(), watch.begin())))
    }

    fn goes_on(&self, moment: Moment) -> bool {
        let watched = self.0.as_ref();
        watched.is_none_or(|(watch, number)| watch.goes_on(*number, moment))
    }
}

/// The head of a request, without the empty line, and what has come of its body.
async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            bytes.truncate(end);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() > MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
}

fn meet(head: &str, state: &Mutex<State>) -> Option<Fault> {
    let line = head.lines().next().unwrap_or_default();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.requests.push(line.to_owned());
    let State { rules, chance, .. } = &mut *state;
    let fits = |rule: &&mut Rule| !rule.is_over() && line.contains(&rule.part);
    let mut fitting: Vec<&mut Rule> = rules.iter_mut().filter(fits).collect();
    if fitting.is_empty() {
        return None;
    }
    let choice = match chance {
        Some(chance) => chance.below(fitting.len()),
        None => 0,
    };
    let rule = fitting.swap_remove(choice);
    rule.left -= 1;
    Some(rule.fault.clone())
}

async fn answer(client: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Fault\r\nConnection: close\r\nContent-Type: application/xml\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await?;
    // Closed with bytes unread, the connection would be reset, and the answer might be lost.
    drain(client).await
}

async fn drain(client: &mut TcpStream) -> std::io::Result<()> {
    tokio::io::copy(client, &mut tokio::io::sink())
        .await
        .map(drop)
}

async fn forward(
    (mut client, mut server): (TcpStream, TcpStream),
    (head, rest): (String, Vec<u8>),
    (fault, write): (Option<Fault>, Write),
) -> std::io::Result<()> {
    let length = content_length(&head);
    let head = format!("{head}\r\nConnection: close\r\n\r\n");
    let (pace, limit) = match fault {
        Some(Fault::Slow(bytes_per_s)) => (Some(bytes_per_s), u64::MAX),
        Some(Fault::CutAnswer(after)) => (None, after),
        _ => (None, u64::MAX),
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        to_server.write_all(head.as_bytes()).await?;
        let mut sent = 0;
        if write.0.is_some() && length > 0 {
            sent = usize::try_from(length / 2).map_or(rest.len(), |half| half.min(rest.len()));
            to_server.write_all(&rest[..sent]).await?;
            let more = (length / 2).saturating_sub(sent as u64);
            pass(&mut from_client, &mut to_server, pace, more).await?;
            if !write.goes_on(Moment::During) {
                return Ok(());
            }
        }
        to_server.write_all(&rest[sent..]).await?;
        pass(&mut from_client, &mut to_server, pace, u64::MAX).await
    };
    let down = async {
        from_server.peek(&mut [0]).await?;
        match write.goes_on(Moment::After) {
            true => pass(&mut from_server, &mut to_client, pace, limit).await,
            false => Ok(()),
        }
    };
    tokio::select! {
        up = up => up,
        down = down => down,
    }
}

/// How long the body of a request is, if its head says so.
fn content_length(head: &str) -> u64 {
    let mut lengths = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok()).flatten()
    });
    lengths.next().unwrap_or_default()
}

/// Passes on until there is no more, or so many bytes have passed.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    pace: Option<u64>,
    limit: u64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed = 0;
    while passed < limit {
        let most =
            usize::try_from(limit - passed).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let read = from.read(&mut piece[..most]).await?;
        if read == 0 {
            break;
        }
        to.write_all(&piece[..read]).await?;
        passed += read as u64;
        if let Some(bytes_per_s) = pace {
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / bytes_per_s as f64)).await;
        }
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules of which each is met twenty times.
    fn rules(faults: [Fault; 2], until: Option<Instant>) -> Vec<Rule> {
        let rule = |fault| Rule {
            part: "GET".to_owned(),
            fault,
            left: 20,
            until,
        };
        faults.map(rule).into()
    }

    fn met(state: &Mutex<State>, times: usize) -> Vec<Option<Fault>> {
        let meet = |_| meet("GET /bucket/key HTTP/1.1\r\nHost: s3", state);
        (0..times).map(meet).collect()
    }

    #[test]
    fn the_rule_that_was_made_first_is_met_first() {
        let state = Mutex::new(State {
            rules: rules([Fault::HangUp, Fault::Silence], None),
            ..State::default()
        });
        assert_eq!(met(&state, 20), vec![Some(Fault::HangUp); 20]);
        assert_eq!(met(&state, 20), vec![Some(Fault::Silence); 20]);
        assert_eq!(met(&state, 1), [None]);
    }

    #[test]
    fn rules_that_are_mixed_are_met_between_each_other() {
        let state = Mutex::new(State {
            rules: rules([Fault::HangUp, Fault::Silence], None),
            chance: Some(Random::new(1)),
            ..State::default()
        });
        let met_before = met(&state, 20);
        for fault in [Fault::HangUp, Fault::Silence] {
            assert!(met_before.contains(&Some(fault)), "{met_before:?}");
        }
        let rest = met(&state, 20);
        let all = met_before.iter().chain(&rest);
        assert_eq!(all.filter(|it| **it == Some(Fault::HangUp)).count(), 20);
        assert_eq!(met(&state, 1), [None]);
    }

    #[test]
    fn a_rule_whose_time_is_over_is_not_met() {
        let state = Mutex::new(State {
            rules: rules([Fault::HangUp, Fault::Silence], Some(Instant::now())),
            ..State::default()
        });
        assert_eq!(met(&state, 1), [None]);
    }
}
