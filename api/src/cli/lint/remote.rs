//! Fetches a set: one playlist, and what it leads to below the same address.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use telecine_activities::lint::{
    MAX_HEADER_BYTES, MAX_PLAYLIST_BYTES, MAX_SEGMENT_BYTES, Target, references,
};
use tokio::io::AsyncWriteExt as _;

use super::Set;
use crate::cli::console::Console;
use crate::cli::exit::CliError;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may say nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirects that are followed, all of them on the same host.
const MAX_REDIRECTS: usize = 5;

/// What is fetched of one set, in bytes: two hours at 16 Mbit/s.
const MAX_SET_BYTES: u64 = 16 << 30;

/// The playlist that an address means which ends with a slash.
const DEFAULT_ENTRY: &str = "master.m3u8";

/// Fetches the set of a playlist into a directory that is removed with the answer.
///
/// # Errors
/// Not found if the playlist is not there. What else is not there is left out: the linter says so.
pub(super) async fn fetch(address: &str, console: &Console) -> Result<Set, CliError> {
    let mut url = Url::parse(address)
        .map_err(|error| CliError::usage(format!("{address} is no address: {error}")))?;
    if url.path().ends_with('/') {
        url = url
            .join(DEFAULT_ENTRY)
            .map_err(|error| CliError::usage(format!("{address}: {error}")))?;
    }
    let entry = url.path().rsplit('/').next().unwrap_or_default().to_owned();
    let directory = tempfile::tempdir()
        .map_err(|error| CliError::failed(format!("cannot make a directory: {error}")))?;
    let mut mirror = Mirror {
        client: client()?,
        base: url.clone(),
        root: directory.path(),
        bytes: 0,
        files: BTreeSet::new(),
    };
    if !mirror.file(&entry, url, MAX_PLAYLIST_BYTES).await? {
        return Err(CliError::not_found(format!(
            "there is no playlist at {address}"
        )));
    }
    mirror.rest(&entry).await?;
    console.note(&format!(
        "fetched {} files, {} bytes",
        mirror.files.len(),
        mirror.bytes
    ));
    Ok(Set {
        root: directory.path().to_owned(),
        entry,
        _fetched: Some(directory),
    })
}

fn client() -> Result<Client, CliError> {
    // A second call finds the one that the first installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let same_host = redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if first != Some(attempt.url().origin()) {
            attempt.error("the server redirects to another host")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("the server redirects too often")
        } else {
            attempt.follow()
        }
    });
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(same_host)
        .user_agent(concat!("telecine/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| CliError::failed(format!("cannot start the HTTP client: {error}")))
}

struct Mirror<'a> {
    client: Client,
    base: Url,
    root: &'a Path,
    bytes: u64,
    /// What was asked for.
    files: BTreeSet<String>,
}

impl Mirror<'_> {
    /// Everything that a playlist leads to.
    async fn rest(&mut self, entry: &str) -> Result<(), CliError> {
        let mut playlists = VecDeque::from([entry.to_owned()]);
        while let Some(playlist) = playlists.pop_front() {
            let text = tokio::fs::read(self.root.join(&playlist))
                .await
                .map_err(unwritable)?;
            for (path, target) in references(&playlist, &text) {
                if !self.files.insert(path.clone()) {
                    continue;
                }
                let url = self.address(&path)?;
                let limit = match target {
                    Target::Playlist => MAX_PLAYLIST_BYTES,
                    Target::Header => MAX_HEADER_BYTES,
                    Target::Segment => MAX_SEGMENT_BYTES,
                };
                if self.file(&path, url, limit).await? && target == Target::Playlist {
                    playlists.push_back(path);
                }
            }
        }
        Ok(())
    }

    /// The address of a path below that of the set.
    fn address(&self, path: &str) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| CliError::usage("the address has no path"))?
            .pop()
            .extend(path.split('/'));
        Ok(url)
    }

    /// Fetches a file; false if it is not there. A file that is larger than the limit ends one
    /// byte behind it, so that the linter sees that it is too large.
    async fn file(&mut self, path: &str, url: Url, limit: u64) -> Result<bool, CliError> {
        let failed =
            |error: reqwest::Error| CliError::failed(format!("cannot fetch {url}: {error}"));
        let response = self.client.get(url.clone()).send().await.map_err(failed)?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => return Ok(false),
            status => return Err(CliError::failed(format!("cannot fetch {url}: {status}"))),
        }
        let to = self.root.join(path);
        if let Some(directory) = to.parent() {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(unwritable)?;
        }
        self.copy(response, &to, limit).await
    }

    async fn copy(
        &mut self,
        mut response: Response,
        to: &Path,
        limit: u64,
    ) -> Result<bool, CliError> {
        let failed = |error: reqwest::Error| CliError::failed(format!("cannot fetch: {error}"));
        let mut file = tokio::fs::File::create(to).await.map_err(unwritable)?;
        let mut copied = 0;
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            copied += piece.len() as u64;
            self.bytes += piece.len() as u64;
            if self.bytes > MAX_SET_BYTES {
                let limit = MAX_SET_BYTES >> 30;
                return Err(CliError::failed(format!(
                    "the set has more than {limit} GiB"
                )));
            }
            file.write_all(&piece).await.map_err(unwritable)?;
            if copied > limit {
                break;
            }
        }
        file.flush().await.map_err(unwritable)?;
        Ok(true)
    }
}

fn unwritable(error: std::io::Error) -> CliError {
    CliError::failed(format!("cannot write what was fetched: {error}"))
}
