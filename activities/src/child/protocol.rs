use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Usage;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;

use super::Limits;
use crate::tool::{Message, ToolError};

/// The longest line that a child may write. The longest honest one is the report of a source of
/// a day: 14,400 cuts and seeks, 0.5 MB.
const MAX_LINE_BYTES: usize = 16 << 20;

/// What a child reads first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order<S> {
    /// Pid of the process that started it.
    pub(super) parent: u32,
    pub(super) limits: Limits,
    pub(super) spec: S,
}

/// What a child writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<E, O> {
    Message(Message<E>),
    /// What it has used so far.
    Usage(Usage),
    /// The last line.
    Done(Result<O, ToolError>),
}

/// One line of JSON.
pub(super) fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads lines of bounded length. Dropping a read half way loses nothing.
#[derive(Debug)]
pub(super) struct LineReader {
    input: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl LineReader {
    pub(super) fn new(input: ChildStdout) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
        }
    }

    /// The next line; `None` at the end of the output, a half line before it included: a child
    /// that was killed may leave one.
    pub(super) async fn next<L: DeserializeOwned>(&mut self) -> io::Result<Option<L>> {
        loop {
            let read = self.input.fill_buf().await?;
            if read.is_empty() {
                return Ok(None);
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(read.len(), |end| end + 1);
            self.line.extend_from_slice(&read[..taken]);
            self.input.consume(taken);
            if self.line.len() > MAX_LINE_BYTES {
                return Err(io::Error::other("a line is longer than 16 MiB"));
            }
            if end.is_some() {
                let line = serde_json::from_slice(&self.line);
                self.line.clear();
                return line.map(Some).map_err(io::Error::other);
            }
        }
    }
}
