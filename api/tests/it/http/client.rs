//! HTTP as bytes, so that what no client would send can be sent too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::description::Description;

/// No answer takes longer; a stream may be silent for as long as a step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request in the making.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        let json = Self::new("POST", path).header("content-type", "application/json");
        json.body(body.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if self.headers.iter().all(|(name, _)| name != "host") {
            head += "host: localhost\r\n";
        }
        if !self.body.is_empty() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (head + "connection: close\r\n\r\n").into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it and reads the answer, which has to be as the server describes it.
    pub(crate) fn send(&self, server: SocketAddr) -> Answer {
        let (status, headers, mut reader) = self.open(server);
        let mut body = Vec::new();
        // A server that refuses a body may close before it has read all of it.
        let _ = reader.read_to_end(&mut body);
        if headers
            .get("transfer-encoding")
            .is_some_and(|it| it == "chunked")
        {
            body = unchunked(&body);
        }
        let answer = Answer {
            status,
            headers,
            body,
        };
        answer.check_marks();
        let path = self.path.split('?').next().unwrap_or_default();
        Description::of(server).check(&self.method, path, &answer);
        answer
    }

    /// Sends it and reads the head of the answer.
    fn open(&self, server: SocketAddr) -> (u16, BTreeMap<String, String>, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(server).expect("the server can be reached");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // A server that refuses early may have closed already: its answer is still to be read.
        let _ = stream.write_all(&self.bytes());
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line of the head");
            line.trim_end().to_owned()
        };
        let first = line();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {first:?}"));
        let mut headers = BTreeMap::new();
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        (status, headers, reader)
    }

    /// Sends it and follows the stream of events that it is answered with.
    pub(crate) fn stream(&self, server: SocketAddr) -> Stream {
        let request = self.clone().header("accept", "text/event-stream");
        request
            .try_stream(server)
            .unwrap_or_else(|answer| panic!("no stream: {}", answer.text()))
    }

    /// Sends it; the stream of events that it is answered with, or else the answer.
    pub(crate) fn try_stream(&self, server: SocketAddr) -> Result<Stream, Answer> {
        let (status, headers, mut reader) = self.open(server);
        if status == 200 && headers["content-type"] == "text/event-stream" {
            return Ok(Stream { reader });
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body).expect("an answer");
        Err(Answer {
            status,
            headers,
            body,
        })
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("JSON, not {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails unless it is this problem.
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem:#}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["trace_id"], self.headers["x-trace-id"]);
        assert!(!problem["detail"].as_str().expect("a sentence").is_empty());
        problem
    }

    /// Every answer names its trace.
    fn check_marks(&self) {
        let id = &self.headers["x-trace-id"];
        assert_eq!(id.len(), 32, "{id}");
        let parent = &self.headers["traceparent"];
        assert!(parent.starts_with(&format!("00-{id}-")), "{parent}");
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size in hex");
        whole.extend(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    whole
}

/// Server-sent events as they come.
#[derive(Debug)]
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
}

impl Stream {
    /// The id and the data of the next event; `None` at the end.
    pub(crate) fn next_of_feed(&mut self) -> Option<(String, Value)> {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            if self
                .reader
                .read_line(&mut line)
                .expect("the stream goes on")
                == 0
            {
                return None;
            }
            if let Some(text) = line.strip_prefix("id: ") {
                text.trim().clone_into(&mut id);
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).expect("an event")));
            }
        }
    }
}

impl Iterator for Stream {
    type Item = Value;

    /// The data of the next event, once its id is found to be its number; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        let (id, event) = self.next_of_feed()?;
        assert_eq!(event["seq"].to_string(), id);
        Some(event)
    }
}
